"""The previews of all epochs as one moving picture."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from segbatch.runs.files import replacing

MOST_FRAMES = 60
MOST_WIDTH = 800
FRAME_MS, LAST_MS = 250, 2500


def write_animation(path: Path, previews: Path, epochs: int) -> bool:
    """Write a GIF of `previews/epoch-0001.png` and on; of very many epochs, as many as fit, the last among them.

    Args:
        path: the GIF file.
        previews: folder of the sheets.
        epochs: number of the last epoch; sheets that are missing are left out.

    Returns:
        Whether there was any sheet.
    """
    sheets = [sheet for epoch in range(1, epochs + 1) if (sheet := previews / f"epoch-{epoch:04d}.png").is_file()]
    if not sheets:
        return False
    stride = -(-len(sheets) // MOST_FRAMES)
    chosen = sheets[::-1][::stride][::-1]
    last = _frame(chosen[-1])
    # One palette for all frames, or colours would flicker.
    palette = last.quantize(255, dither=Image.Dither.NONE)
    frames = [_frame(sheet).quantize(palette=palette, dither=Image.Dither.NONE) for sheet in chosen]
    times = [FRAME_MS] * (len(frames) - 1) + [LAST_MS]
    with replacing(path, durable=False) as handle:
        frames[0].save(handle, format="GIF", save_all=True, append_images=frames[1:], duration=times, loop=0)
    return True


def _frame(path: Path) -> Image.Image:
    with Image.open(path) as sheet:
        frame = sheet.convert("RGB")
    if frame.width > MOST_WIDTH:
        frame = frame.resize((MOST_WIDTH, round(frame.height * MOST_WIDTH / frame.width)), Image.Resampling.BOX)
    return frame

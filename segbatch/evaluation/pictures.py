"""One tile as a picture for people: image, truth, prediction, and where the two differ."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segbatch.evaluation.counts import IndexMap
from segbatch.spec.labels import IGNORED, Labels

Pixels = NDArray[np.uint8]
Rgb = tuple[int, int, int]

GAP = 6
"""Pixels between panels."""
HATCH: tuple[Rgb, Rgb] = ((38, 40, 44), (84, 88, 96))
"""Stripes of pixels that are ignored or got no class."""
WRONG: Rgb = (230, 80, 20)
"""Pixels predicted wrong; with two classes, those predicted as the second class although they are not."""
MISSED: Rgb = (0, 114, 200)
"""With two classes: pixels of the second class that were not predicted."""
_GAP_COLOR: Rgb = (128, 132, 140)
_QUALITY = 90


def tile_picture(
    image: NDArray[Any] | None, truth: IndexMap | None, predicted: IndexMap, labels: Labels, *, height: int = 256
) -> bytes:
    """Draw panels of equal size side by side.

    Args:
        image: [H, W] or [H, W, bands] of any number type, or None where there is none (or it cannot be read). One
            or two bands are shown grey, of more the first three; what is not uint8 is stretched.
        truth: class indices, uint8 [H, W], 255 ignored; None where there is none.
        predicted: class indices, uint8 [H, W].
        labels: the classes, for their colours.
        height: pixels that panels are brought down to; small tiles are enlarged by whole factors.

    Returns:
        A JPEG file of one row: image, truth, prediction, difference; `panel_names` says which of them there are.
    """
    size = _panel_size(predicted.shape[0], predicted.shape[1], height)
    shown = _shrink(predicted, size)
    panels = [] if image is None else [_resize(to_rgb(image), size)]
    if truth is None:
        panels.append(colored(shown, labels))
    else:
        true = _shrink(truth, size)
        ground = panels[0] if panels else None
        wrong = difference(true, shown, ground, two=len(labels.scored) == 2)
        panels += [colored(true, labels), colored(shown, labels), wrong]
    return _jpeg(_row(panels))


def panel_names(*, image: bool, truth: bool) -> list[str]:
    """Say what the panels of `tile_picture` are, from left to right."""
    wanted = [("Image", image), ("Truth", truth), ("Prediction", True), ("Right and wrong", truth)]
    return [name for name, there in wanted if there]


def to_rgb(image: NDArray[Any]) -> Pixels:
    """Return uint8 [H, W, 3] for any number of bands and any number type.

    Values that are not uint8 are stretched so that their 1st and 99th percentile become black and white: sensors
    with 16 bits seldom use them all.
    """
    bands = image[..., None] if image.ndim == 2 else image
    bands = bands[..., :3] if bands.shape[-1] >= 3 else bands[..., :1].repeat(3, axis=-1)
    if bands.dtype == np.uint8:
        return np.ascontiguousarray(bands)
    values = np.nan_to_num(bands.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = np.percentile(values, (1, 99))
    stretched = (values - low) / (high - low) if high > low else np.full_like(values, 0.5)
    return np.rint(np.clip(stretched, 0, 1) * 255).astype(np.uint8)


def colored(indices: IndexMap, labels: Labels) -> Pixels:
    """Return class indices, uint8 [H, W], in the labels' colours, uint8 [H, W, 3]; all else is hatched."""
    palette = np.zeros((256, 3), np.uint8)
    colors = [item.color for item in labels.scored]
    palette[: len(colors)] = colors
    drawn: Pixels = palette[indices]
    return _hatched(drawn, indices >= len(colors))


def difference(truth: IndexMap, predicted: IndexMap, image: Pixels | None = None, *, two: bool = False) -> Pixels:
    """Show where the prediction is wrong.

    Args:
        truth: class indices, uint8 [H, W], 255 ignored.
        predicted: class indices, uint8 [H, W].
        image: uint8 [H, W, 3], shown pale and grey where the prediction is right; None for a plain ground.
        two: there are two classes, so that a wrong pixel is either too much or too little of the second.

    Returns:
        uint8 [H, W, 3]: `WRONG` where the classes differ, with two classes `MISSED` where the second was not
        predicted, hatched where truth is ignored.
    """
    grey = np.full(truth.shape, 200.0) if image is None else image.mean(axis=-1)
    pale = 150 + grey * (95 / 255)
    drawn: Pixels = np.repeat(pale[..., None], 3, axis=-1).astype(np.uint8)
    drawn[truth != predicted] = WRONG
    if two:
        drawn[(truth == 1) & (predicted != 1)] = MISSED
    return _hatched(drawn, truth == IGNORED)


def _hatched(drawn: Pixels, where: NDArray[np.bool_]) -> Pixels:
    diagonal = np.arange(where.shape[0])[:, None] + np.arange(where.shape[1])
    stripes = np.asarray(HATCH, np.uint8)[(diagonal // 4) % 2]
    drawn[where] = stripes[where]
    return drawn


def _panel_size(rows: int, columns: int, height: int) -> tuple[int, int]:
    """Height and width of a panel; no wider than twice `height`, each side at least one pixel."""
    scale = min(height / rows, 2 * height / columns)
    if scale >= 1:
        return rows * int(scale), columns * int(scale)
    return max(1, round(rows * scale)), max(1, round(columns * scale))


def _shrink(indices: IndexMap, size: tuple[int, int]) -> IndexMap:
    picture = Image.fromarray(indices).resize(size[::-1], Image.Resampling.NEAREST)
    return np.asarray(picture)


def _resize(image: Pixels, size: tuple[int, int]) -> Pixels:
    enlarged = size[0] > image.shape[0] or size[1] > image.shape[1]
    how = Image.Resampling.NEAREST if enlarged else Image.Resampling.BOX
    return np.asarray(Image.fromarray(image).resize(size[::-1], how))


def _row(panels: list[Pixels]) -> Pixels:
    gap = np.full((panels[0].shape[0], GAP, 3), _GAP_COLOR, np.uint8)
    parts = [part for panel in panels for part in (gap, panel)][1:]
    return np.concatenate(parts, axis=1)


def _jpeg(pixels: Pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=_QUALITY, subsampling=0, optimize=True)
    return file.getvalue()

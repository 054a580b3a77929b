"""A sheet of the same few tiles after every epoch: image, truth, and what the network makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from segbatch.runs.files import replacing
from segbatch.spec.labels import Labels

THRESHOLDS = (0.5, 0.7)
SIDE, GAP, HEAD, CAPTION = 192, 8, 26, 18
FONT, SMALL = 14, 11
PAPER, INK, FAINT = (255, 255, 255), (30, 30, 30), (110, 110, 110)
IGNORED_COLOR = (150, 150, 150)
OVERLAY = 0.5

Rgb = NDArray[np.uint8]


@dataclass(frozen=True)
class Samples:
    """The tiles that are drawn."""

    images: NDArray[np.float32]
    """[n, h, w, bands], values as the files hold them."""
    truths: NDArray[np.uint8]
    """[n, h, w] class indices; 255 is ignored."""
    names: Sequence[str]
    depth: int
    """Bits of a band."""


def write_preview(path: Path, samples: Samples, probabilities: NDArray[np.float32], labels: Labels, title: str) -> None:
    """Draw one sheet: a row a tile, a column a way to see it.

    Args:
        path: the PNG file.
        samples: the tiles.
        probabilities: [n, h, w, C], or [n, h, w, 1] of the second class.
        labels: the classes and their colours.
        title: what stands above.
    """
    rows = [
        _panels(image, truth, scores, labels)
        for image, truth, scores in zip(_visible(samples), samples.truths, probabilities, strict=True)
    ]
    height, width = _panel_size(samples.truths.shape[1:])
    columns = len(rows[0])
    sheet = Image.new("RGB", (GAP + columns * (width + GAP), 2 * HEAD + len(rows) * (height + CAPTION) + GAP), PAPER)
    draw, font, small = ImageDraw.Draw(sheet), ImageFont.load_default(FONT), ImageFont.load_default(SMALL)
    draw.text((GAP, 6), title, INK, font)
    for column, heading in enumerate(rows[0]):
        draw.text((GAP + column * (width + GAP), HEAD + 4), heading, INK, font)
    for row, (panels, name) in enumerate(zip(rows, samples.names, strict=True)):
        top = 2 * HEAD + row * (height + CAPTION)
        for column, (heading, panel) in enumerate(panels.items()):
            sheet.paste(_scaled(panel, (width, height), smooth=heading == "image"), (GAP + column * (width + GAP), top))
        draw.text((GAP, top + height + 1), _printable(name), FAINT, small)
    with replacing(path, durable=False) as handle:
        sheet.save(handle, format="PNG")


def _panels(image: Rgb, truth: NDArray[np.uint8], scores: NDArray[np.float32], labels: Labels) -> dict[str, Rgb]:
    """Heading -> picture."""
    colors = np.full((256, 3), IGNORED_COLOR, np.uint8)
    colors[: len(labels.scored)] = [item.color for item in labels.scored]
    panels = {"image": image, "truth": colors[truth]}
    if len(labels.scored) != 2:
        predicted = scores.argmax(axis=-1).astype(np.uint8)
        return panels | {"prediction": colors[predicted], "overlay": _blend(image, colors[predicted])}
    second = scores[..., -1]
    panels["probability"] = np.repeat(np.rint(second * 255).astype(np.uint8)[..., None], 3, axis=-1)
    for threshold in THRESHOLDS:
        panels[f"threshold {threshold}"] = colors[(second >= threshold).astype(np.uint8)]
    chosen = (second >= THRESHOLDS[0])[..., None]
    return panels | {"overlay": np.where(chosen, _blend(image, np.broadcast_to(colors[1], image.shape)), image)}


def _blend(image: Rgb, over: Rgb) -> Rgb:
    return np.rint(image * (1 - OVERLAY) + over * OVERLAY).astype(np.uint8)


def _visible(samples: Samples) -> Rgb:
    """[n, h, w, 3], 0 to 255."""
    bands = samples.images[..., :3] if samples.images.shape[-1] >= 3 else samples.images[..., :1].repeat(3, axis=-1)
    shown: Rgb = np.rint(np.clip(bands * (255.0 / (2**samples.depth - 1)), 0, 255)).astype(np.uint8)
    return shown


def _panel_size(shape: tuple[int, ...]) -> tuple[int, int]:
    """Height and width of a panel: small tiles are enlarged by whole factors, large ones shrunk."""
    longer = max(shape)
    scale: float = SIDE // longer if longer <= SIDE else SIDE / longer
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


def _scaled(panel: Rgb, size: tuple[int, int], *, smooth: bool) -> Image.Image:
    method = Image.Resampling.BOX if smooth else Image.Resampling.NEAREST
    return Image.fromarray(np.ascontiguousarray(panel)).resize(size, method)


def _printable(name: str, longest: int = 100) -> str:
    text = "".join(letter if letter.isprintable() else "?" for letter in name)
    return text if len(text) <= longest else f"...{text[-longest:]}"

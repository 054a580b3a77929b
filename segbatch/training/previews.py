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
from segbatch.training.panels import (
    CAPTION,
    FAINT,
    FONT,
    GAP,
    HEAD,
    INK,
    PAPER,
    SMALL,
    Rgb,
    blend,
    panel_size,
    printable,
    scaled,
    visible,
)

THRESHOLDS = (0.5, 0.7)
IGNORED_COLOR = (150, 150, 150)


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
    images = visible(samples.images, samples.depth)
    rows = [
        _panels(image, truth, scores, labels)
        for image, truth, scores in zip(images, samples.truths, probabilities, strict=True)
    ]
    height, width = panel_size(samples.truths.shape[1:])
    columns = len(rows[0])
    sheet = Image.new("RGB", (GAP + columns * (width + GAP), 2 * HEAD + len(rows) * (height + CAPTION) + GAP), PAPER)
    draw, font, small = ImageDraw.Draw(sheet), ImageFont.load_default(FONT), ImageFont.load_default(SMALL)
    draw.text((GAP, 6), title, INK, font)
    for column, heading in enumerate(rows[0]):
        draw.text((GAP + column * (width + GAP), HEAD + 4), heading, INK, font)
    for row, (panels, name) in enumerate(zip(rows, samples.names, strict=True)):
        top = 2 * HEAD + row * (height + CAPTION)
        for column, (heading, panel) in enumerate(panels.items()):
            sheet.paste(scaled(panel, (height, width), smooth=heading == "image"), (GAP + column * (width + GAP), top))
        draw.text((GAP, top + height + 1), printable(name), FAINT, small)
    with replacing(path, durable=False) as handle:
        sheet.save(handle, format="PNG")


def _panels(image: Rgb, truth: NDArray[np.uint8], scores: NDArray[np.float32], labels: Labels) -> dict[str, Rgb]:
    """Heading -> picture."""
    colors = np.full((256, 3), IGNORED_COLOR, np.uint8)
    colors[: len(labels.scored)] = [item.color for item in labels.scored]
    panels = {"image": image, "truth": colors[truth]}
    if len(labels.scored) != 2:
        predicted = scores.argmax(axis=-1).astype(np.uint8)
        return panels | {"prediction": colors[predicted], "overlay": blend(image, colors[predicted])}
    second = scores[..., -1]
    panels["probability"] = np.repeat(np.rint(second * 255).astype(np.uint8)[..., None], 3, axis=-1)
    for threshold in THRESHOLDS:
        panels[f"threshold {threshold}"] = colors[(second >= threshold).astype(np.uint8)]
    chosen = (second >= THRESHOLDS[0])[..., None]
    return panels | {"overlay": np.where(chosen, blend(image, np.broadcast_to(colors[1], image.shape)), image)}

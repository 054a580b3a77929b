"""A sheet of training samples: each as it is, and as the first epochs see it, with its mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from segbatch.data.pairs import pair_of
from segbatch.errors import InputError
from segbatch.evaluation.pictures import HATCH
from segbatch.runs.files import replacing
from segbatch.runs.plan import Plan
from segbatch.spec.augmentation import AugmentStep
from segbatch.spec.job import TrainJob
from segbatch.spec.labels import Labels
from segbatch.training.feed import Feed
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
from segbatch.training.phases import augmentations

CANDIDATES = 4
"""Tiles looked at for each that is shown."""
READERS = 2
HIDDEN = 0.75
"""How much of an ignored pixel its stripes cover."""
WIDE = 256
"""Longer side of a panel, in pixels."""
LINE = 18
SWATCH = 12


@dataclass(frozen=True)
class Row:
    """One tile, first as it is and then by epoch."""

    name: str
    images: NDArray[np.float32]
    """[1 + epochs, h, w, bands], values as the files hold them."""
    truths: NDArray[np.uint8]
    """[1 + epochs, h, w] class indices; 255 is ignored."""


def write_sheet(plan: Plan, path: Path, *, tiles: int, epochs: int) -> list[str]:
    """Draw training samples of a planned job; of evenly spread tiles, those whose masks hold most.

    Args:
        plan: of a train job.
        path: the PNG file.
        tiles: tiles to show.
        epochs: epochs to show of each.

    Returns:
        Names of the tiles.

    Raises:
        InputError: none of the tiles that were looked at can be read, or the file cannot be written.
    """
    job = plan.job
    assert isinstance(job, TrainJob)
    rows = read_rows(job, feed_of(plan, job), tiles, epochs)
    sheet = draw_sheet(rows, job)
    try:
        with replacing(path, durable=False) as handle:
            sheet.save(handle, format="PNG")
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}.") from error
    return [row.name for row in rows]


def feed_of(plan: Plan, job: TrainJob) -> Feed:
    """The training part of a job that is only planned."""
    chosen = list(plan.tiles_in("train"))
    pairs = [pair_of(tile, plan.images_root, plan.masks_root, plan.labelled_root) for tile in chosen]
    return Feed("train", pairs, [tile.name for tile in chosen], job, READERS)


def read_rows(job: TrainJob, feed: Feed, tiles: int, epochs: int) -> list[Row]:
    """Read the tiles to show, as they are and as the first epochs see them."""
    looked_at = feed.spread(CANDIDATES * tiles)
    _, truths, readable = feed.read(looked_at)
    if not readable:
        name, reason = feed.explain(int(looked_at[0]))
        raise InputError(f"data: none of {len(looked_at)} training tiles can be read; of {name}: {reason}.")
    richness = np.array([_richness(truth, len(job.labels.scored)) for truth in truths])
    chosen = np.sort(np.argsort(-richness, kind="stable")[:tiles])
    indices = np.array(readable, np.int64)[chosen]
    plans = augmentations(job, epochs)
    views = [feed.read(indices), *(feed.read(indices, epoch, augment) for epoch, augment in enumerate(plans))]
    return [
        Row(
            feed.names[index],
            np.stack([images[position] for images, _, _ in views]),
            np.stack([truths[position] for _, truths, _ in views]),
        )
        for position, index in enumerate(indices.tolist())
    ]


def _richness(truth: NDArray[np.uint8], classes: int) -> float:
    """Entropy of the classes' shares, in bits."""
    counts = np.bincount(truth.ravel(), minlength=256)[:classes]
    shares = counts[counts > 0] / max(int(counts.sum()), 1)
    return float(-(shares * np.log2(shares)).sum())


def draw_sheet(rows: Sequence[Row], job: TrainJob) -> Image.Image:
    """Draw a block for each tile: images above, the same with their masks below; a column for each epoch."""
    height, width = panel_size(rows[0].truths.shape[1:], WIDE)
    columns = len(rows[0].truths)
    block = 2 * height + GAP + CAPTION
    whole = max(GAP + columns * (width + GAP), 480)
    font, small = ImageFont.load_default(FONT), ImageFont.load_default(SMALL)
    legend = _legend(job.labels, whole, small)
    steps = [line for said in described(job, columns - 1) for line in _wrapped(said, whole - 2 * GAP, small)]
    top = HEAD + len(steps) * LINE + legend.height + HEAD
    sheet = Image.new("RGB", (whole, top + len(rows) * block + GAP), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, 6), printable(f"{job.name}: training tiles, and what the first epochs make of them"), INK, font)
    for number, line in enumerate(steps):
        draw.text((GAP, HEAD + 2 + number * LINE), line, FAINT, small)
    sheet.paste(legend, (0, HEAD + len(steps) * LINE))
    for column in range(columns):
        heading = f"epoch {column}" if column else "as it is"
        draw.text((GAP + column * (width + GAP), top - HEAD + 4), heading, INK, font)
    for number, row in enumerate(rows):
        above = top + number * block
        pictures = visible(row.images, job.data.depth, of_one=True)
        for column, (image, truth) in enumerate(zip(pictures, row.truths, strict=True)):
            left = GAP + column * (width + GAP)
            picture = scaled(image, (height, width), smooth=True)
            sheet.paste(picture, (left, above))
            masked = overlaid(np.asarray(picture), _enlarged(truth, (height, width)), job.labels)
            sheet.paste(Image.fromarray(masked), (left, above + height + 2))
        draw.text((GAP, above + 2 * height + 4), printable(row.name), FAINT, small)
    return sheet


def overlaid(image: Rgb, truth: NDArray[np.uint8], labels: Labels) -> Rgb:
    """Lay classes over an image: with two, only the second; what is ignored is striped."""
    colors = np.zeros((256, 3), np.uint8)
    colors[: len(labels.scored)] = [item.color for item in labels.scored]
    ignored = truth >= len(labels.scored)
    painted = ~ignored & (truth > 0) if len(labels.scored) == 2 else ~ignored
    diagonal = np.arange(truth.shape[0])[:, None] + np.arange(truth.shape[1])
    stripes = np.asarray(HATCH, np.uint8)[(diagonal // 4) % 2]
    out = np.where(painted[..., None], blend(image, colors[truth]), image)
    return np.where(ignored[..., None], blend(image, stripes, HIDDEN), out)


def _enlarged(truth: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    return np.asarray(scaled(truth, size, smooth=False))


def described(job: TrainJob, epochs: int) -> list[str]:
    """How the first epochs vary their samples, in words: one text, or one for each stretch of epochs alike."""
    groups = [
        ([epoch for epoch, _ in group], steps)
        for steps, group in groupby(enumerate(augmentations(job, epochs), 1), key=lambda it: it[1])
    ]
    if len(groups) == 1:
        return [_spelled(groups[0][1]) or "no `augment`: every epoch sees the tiles as they are"]
    return [
        f"{f'epochs {alike[0]} to {alike[-1]}' if alike[1:] else f'epoch {alike[0]}'}: {_spelled(steps) or 'none'}"
        for alike, steps in groups
    ]


def _spelled(steps: Sequence[AugmentStep]) -> str:
    said = []
    for step in steps:
        own = {key: value for key, value in step.plain().items() if key not in ("op", "p")}
        more = "".join(
            f" {key} {value if isinstance(value, list) else format(value, 'g')}" for key, value in own.items()
        )
        said.append(f"{step.op}{more} (p {step.p:g})")
    return ", ".join(said)


def _wrapped(text: str, width: int, font: ImageFont.FreeTypeFont) -> list[str]:
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _legend(labels: Labels, width: int, font: ImageFont.FreeTypeFont) -> Image.Image:
    """Colours and names of the classes, in as many lines as they need."""
    entries = [(item.color, item.name) for item in labels.scored] + [(None, "ignored")]
    places, left, line = [], GAP, 0
    for _, name in entries:
        needed = SWATCH + 4 + int(font.getlength(name)) + 14
        if left + needed > width and left > GAP:
            left, line = GAP, line + 1
        places.append((left, 4 + line * LINE))
        left += needed
    picture = Image.new("RGB", (width, 4 + (line + 1) * LINE), PAPER)
    draw = ImageDraw.Draw(picture)
    for (color, name), (x, y) in zip(entries, places, strict=True):
        if color is None:
            striped = overlaid(
                np.full((SWATCH, SWATCH, 3), 255, np.uint8), np.full((SWATCH, SWATCH), 255, np.uint8), labels
            )
            picture.paste(Image.fromarray(striped), (x, y))
        else:
            draw.rectangle((x, y, x + SWATCH - 1, y + SWATCH - 1), fill=tuple(color), outline=FAINT)
        draw.text((x + SWATCH + 4, y - 1), printable(name), INK, font)
    return picture

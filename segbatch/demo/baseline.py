"""What a single-colour threshold can do: the score that a trained network has to beat."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segbatch.demo.landscape import FOREST
from segbatch.errors import InputError

Counts = NDArray[np.int64]
"""Pixels by truth and value, int64 [2, levels]: row 0 everything else, row 1 forest."""


@dataclass(frozen=True)
class Index:
    """One number a pixel, made of its red, green and blue."""

    name: str
    low: int
    """Smallest value it can take."""
    high: int
    """Largest value it can take."""
    values: Callable[[NDArray[np.int16]], NDArray[np.int16]]
    """From int16 [3, ...] colours of 0-255 to int16 [...] values of low to high."""


INDICES = (
    Index("red", 0, 255, lambda rgb: rgb[0]),
    Index("green", 0, 255, lambda rgb: rgb[1]),
    Index("blue", 0, 255, lambda rgb: rgb[2]),
    Index("brightness R+G+B", 0, 765, lambda rgb: rgb[0] + rgb[1] + rgb[2]),
    Index("green over red G-R", -255, 255, lambda rgb: rgb[1] - rgb[0]),
    Index("excess green 2G-R-B", -510, 510, lambda rgb: 2 * rgb[1] - rgb[0] - rgb[2]),
)


@dataclass(frozen=True)
class Threshold:
    """A rule that calls a pixel forest."""

    index: str
    """Name of the index."""
    above: bool
    """True: forest is `index >= value`. False: forest is `index <= value`."""
    value: int

    def __str__(self) -> str:
        return f"{self.index} {'>=' if self.above else '<='} {self.value}"


@dataclass(frozen=True)
class Score:
    """Forest against everything else, over a whole set of tiles."""

    rule: Threshold
    tp: int
    fp: int
    fn: int

    @property
    def iou(self) -> float:
        """Intersection over union; 0 where there is neither forest nor prediction of it."""
        union = self.tp + self.fp + self.fn
        return self.tp / union if union else 0.0


@dataclass(frozen=True)
class Baseline:
    """How far one threshold gets."""

    train: Score
    """The best rule on the training tiles, scored there."""
    honest: Score
    """That rule, scored on the archive's tiles."""
    generous: Score
    """The best rule for the archive, chosen and scored on the archive's own truth."""


def baseline(folder: Path) -> Baseline:
    """Best single-colour thresholds of a world, by intersection over union of the class forest.

    Args:
        folder: as written by `make_world`.

    Raises:
        InputError: there are no tiles, or a mask is missing.
    """
    train, archive = (count_levels(_tiles(folder / part)) for part in ("train", "archive"))
    chosen = best_score(train)
    return Baseline(chosen, score(archive, chosen.rule), best_score(archive))


def count_levels(tiles: Iterator[tuple[NDArray[np.uint8], NDArray[np.bool_]]]) -> list[Counts]:
    """Histograms of every index over images, uint8 [height, width, 3], and their forest, bool [height, width]."""
    counts: list[Counts] = [np.zeros((2, index.high - index.low + 1), np.int64) for index in INDICES]
    for image, forest in tiles:
        rgb = np.ascontiguousarray(image.reshape(-1, 3).T).astype(np.int16)
        for index, count in zip(INDICES, counts, strict=True):
            levels = count.shape[1]
            # Forest's levels come after the others', so that one pass counts both.
            place = index.values(rgb) - np.int16(index.low) + forest.reshape(-1) * np.int16(levels)
            count += np.bincount(place, minlength=2 * levels).reshape(2, levels)
    return counts


def best_score(counts: list[Counts]) -> Score:
    """The threshold of highest IoU over all indices, both directions and every value; the first of equals."""
    found: Score | None = None
    for index, count in zip(INDICES, counts, strict=True):
        for above in (False, True):
            tp, fp = _selected(count, above)
            union = count[1].sum() + fp
            position = int(np.argmax(tp / np.maximum(union, 1)))
            rule = Threshold(index.name, above, position + index.low)
            candidate = score(counts, rule)
            if found is None or candidate.iou > found.iou:
                found = candidate
    assert found is not None
    return found


def score(counts: list[Counts], rule: Threshold) -> Score:
    """What a rule finds among counted pixels."""
    number = next(place for place, index in enumerate(INDICES) if index.name == rule.index)
    tp, fp = _selected(counts[number], rule.above)
    position = rule.value - INDICES[number].low
    return Score(rule, int(tp[position]), int(fp[position]), int(counts[number][1].sum() - tp[position]))


def _selected(count: Counts, above: bool) -> tuple[Counts, Counts]:
    """Forest and other pixels that each threshold selects, int64 [levels] each."""
    running = np.cumsum(count[:, ::-1], axis=1)[:, ::-1] if above else np.cumsum(count, axis=1)
    return running[1], running[0]


def _tiles(part: Path) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.bool_]]]:
    images = sorted((part / "images").glob("*.jpg"))
    if not images:
        raise InputError(f"{part / 'images'}: no tiles. Paint the demo world first: segbatch demo FOLDER")
    for image in images:
        mask = part / "masks" / f"{image.stem}.png"
        try:
            with Image.open(image) as picture, Image.open(mask) as truth:
                yield np.asarray(picture), np.asarray(truth) == FOREST
        except OSError as error:
            raise InputError(f"{mask if not mask.is_file() else image}: cannot be read: {error}") from error

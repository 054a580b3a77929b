"""Scores worked out from journalled counts without NumPy: a second opinion on what a report says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

Share = float | None
"""Between 0 and 1; None where it would be 0/0."""
Entry = tuple[int, int, int]
"""True class, predicted class (the number of classes: none), pixels."""


def confusion_entries(text: str, classes: int) -> list[Entry]:
    """Read packed counts of one tile, such as `0:0:123 0:1:5`.

    Raises:
        ValueError: they are not counts of so many classes.
    """
    entries = [_three(part) for part in text.split()]
    if any(not (0 <= true < classes and 0 <= predicted <= classes) for true, predicted, _ in entries):
        raise ValueError(f"expected counts of {classes} classes, received {text[:60]!r}")
    return entries


def pixel_entries(text: str, classes: int) -> list[tuple[int, int]]:
    """Read packed pixels by predicted class of one tile, such as `0:123 1:5`.

    Raises:
        ValueError: they are not pixels of so many classes.
    """
    entries = []
    for part in text.split():
        at, colon, pixels = part.partition(":")
        if not colon or not 0 <= int(at) < classes:
            raise ValueError(f"expected pixels of {classes} classes, received {text[:60]!r}")
        entries.append((int(at), int(pixels)))
    return entries


def _three(part: str) -> Entry:
    true, predicted, pixels = map(int, part.split(":"))
    return true, predicted, pixels


def share(part: int, whole: int) -> Share:
    """Part of a whole, None of nothing."""
    return part / whole if whole else None


def six(value: Share) -> str:
    """How the CSV files of a report write a share."""
    return "" if value is None else f"{value:.6f}"


def mean(values: Sequence[Share]) -> Share:
    """Mean of those that are defined."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


@dataclass
class ClassPixels:
    """True positives, false positives and false negatives by class, in pixels."""

    tp: list[int]
    fp: list[int]
    fn: list[int]

    @classmethod
    def of(cls, entries: Sequence[Entry], classes: int) -> ClassPixels:
        """Sort counts into the three."""
        found = cls([0] * classes, [0] * classes, [0] * classes)
        for true, predicted, pixels in entries:
            if true == predicted:
                found.tp[true] += pixels
                continue
            found.fn[true] += pixels
            # "No class" is a false positive of none.
            if predicted < classes:
                found.fp[predicted] += pixels
        return found

    @property
    def truth(self) -> list[int]:
        """Valid pixels by true class."""
        return [tp + fn for tp, fn in zip(self.tp, self.fn, strict=True)]

    @property
    def predicted(self) -> list[int]:
        """Valid pixels by predicted class."""
        return [tp + fp for tp, fp in zip(self.tp, self.fp, strict=True)]

    @property
    def valid(self) -> int:
        """Pixels whose truth is a class."""
        return sum(self.tp) + sum(self.fn)

    @property
    def accuracy(self) -> Share:
        """Share of the valid pixels that were predicted right."""
        return share(sum(self.tp), self.valid)

    @property
    def iou(self) -> list[Share]:
        """Intersection over union, tp / (tp + fp + fn)."""
        return [share(tp, tp + fp + fn) for tp, fp, fn in zip(self.tp, self.fp, self.fn, strict=True)]

    @property
    def dice(self) -> list[Share]:
        """Dice coefficient, 2 tp / (2 tp + fp + fn)."""
        return [share(2 * tp, 2 * tp + fp + fn) for tp, fp, fn in zip(self.tp, self.fp, self.fn, strict=True)]


@dataclass
class Tally:
    """Counts of many tiles, added up."""

    classes: int
    tiles: int = 0
    scored: int = 0
    """Tiles with a valid pixel of truth."""
    pixels: int = 0
    """Of whole tiles, also where truth is ignored."""
    confusion: Counter[tuple[int, int]] = field(default_factory=Counter)
    predicted: Counter[int] = field(default_factory=Counter)

    def add(self, entries: Sequence[Entry], predicted: Sequence[tuple[int, int]], pixels: int) -> None:
        """Take in one tile."""
        self.tiles += 1
        self.scored += any(count for _, _, count in entries)
        self.pixels += pixels
        for true, chosen, count in entries:
            self.confusion[true, chosen] += count
        for chosen, count in predicted:
            self.predicted[chosen] += count

    def by_class(self) -> ClassPixels:
        """Sum up by class."""
        return ClassPixels.of([(true, chosen, count) for (true, chosen), count in self.confusion.items()], self.classes)

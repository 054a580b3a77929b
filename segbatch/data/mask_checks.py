"""What a sample of masks says of all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np

from segbatch.data.causes import Cause, Values, cause_of
from segbatch.data.findings import Finding, Sightings
from segbatch.data.looks import Color, FileChecks, Look
from segbatch.data.reasons import listed
from segbatch.spec.labels import IGNORED, UNCLAIMED, Labels


class MaskChecks:
    """Counts what is seen in masks: ground truth, or predictions to evaluate.

    Args:
        labels: the classes.
        table: value on disk to class index, 256 bytes.
        what: "mask" or "prediction".
        other: of predictions, the other `data.predictions.values` and its table.
    """

    def __init__(self, labels: Labels, table: bytes, what: str, other: tuple[str, bytes] | None = None) -> None:
        self._labels, self._table, self._what, self._other = labels, table, what, other
        self._files = FileChecks(what)
        self._unclaimed, self._ignored, self._seen = (Sightings() for _ in range(3))
        self._pixels: Counter[int] = Counter()
        self._color_pixels: Counter[Color] = Counter()
        self._palette: dict[int, Color] = {}
        self._kinds: set[str] = set()

    def add(self, one: Look, size: tuple[int, int] | None) -> None:
        """Count one mask; `size` is its tile's height and width, where that is known."""
        mask = self._files.add_mask(one, size)
        if mask is None:
            return
        self._color_pixels.update(mask.colors)
        if not mask.colors:
            self._kinds.add(one.kind)
            self._palette = {**mask.palette, **self._palette}
            self._add_values(one.name, mask.values)

    def _add_values(self, name: str, values: Mapping[int, int]) -> None:
        self._seen.add(name)
        self._pixels.update(values)
        meanings = {self._table[value] for value in values}
        if UNCLAIMED in meanings:
            self._unclaimed.add(name)
        if meanings == {IGNORED}:
            self._ignored.add(name)

    def findings(self) -> Iterator[Finding]:
        """Yield what was found."""
        what = self._what
        yield from self._files.findings()
        if self._files.sizes.count:
            fix = f"Mend how files are paired, or bring the {what}s to their tiles' size with nearest neighbour."
            yield self._files.sizes.finding("error", "sizes", f"{what}s and their tiles differ in size", fix)
        if self._files.colors.count:
            yield self._colored()
        yield from self._values()
        if self._ignored.count:
            message = f"{what}s hold ignored pixels alone: nothing is learned from them or scored on them"
            fix = "Leave them out, or look at `ignore` and `unclaimed` in the labels."
            yield self._ignored.finding("warning", f"ignored {what}s", message, fix)

    def _colored(self) -> Finding:
        names = {item.color: item.name for item in self._labels.classes}
        common = [color for color, _ in self._color_pixels.most_common(4)]
        known = [f"#{bytes(color).hex()} is {names[color]}" for color in common if color in names]
        message = f"{self._what}s hold colours instead of one value a pixel, most often "
        message += ", ".join(f"#{bytes(color).hex()}" for color in common)
        fix = "Convert them to one channel of class numbers, or to palette PNGs whose pixels hold them"
        fix += f"; by the labels' colours, {', '.join(known)}." if known else "."
        return self._files.colors.finding("error", f"colour {self._what}s", message, fix)

    def _values(self) -> Iterator[Finding]:
        values = Values(self._pixels, self._table, frozenset(self._kinds), self._palette or None)
        cause = self._other_reading() or cause_of(values, self._labels)
        if values.unclaimed:
            counts = np.array([self._pixels[value] for value in range(256)], np.int64)
            message = f"{self._what}s hold values that no class of {self._labels.name!r} claims: "
            message += listed(values.unclaimed, counts)
            if cause is None:
                fix = "Give each to a class with `values:` in the labels, or set `unclaimed: ignore` there."
                yield self._unclaimed.finding("error", "unclaimed values", message, fix)
            else:
                yield self._unclaimed.finding("error", cause.kind, f"{message}; {cause.reason}", cause.fix)
        elif cause is not None:
            message = f"every value of the {self._what}s has a class, but {cause.reason}"
            yield self._seen.finding("error", cause.kind, message, cause.fix)

    def _other_reading(self) -> Cause | None:
        """Predictions may hold the labels' raw values where ids are expected, or the reverse."""
        if self._other is None or not self._unclaimed.count:
            return None
        name, table = self._other
        if any(table[value] == UNCLAIMED for value in self._pixels):
            return None
        word = "raw values" if name == "raw" else "ids"
        return Cause("ids or raw values", f"they are {word} of the labels", f"Set `data.predictions.values: {name}`.")

"""Which few tiles of a report are shown as pictures; memory does not grow with the number of tiles."""

from __future__ import annotations

import hashlib
from bisect import insort
from dataclasses import dataclass, field

from segbatch.evaluation.record import TileRecord
from segbatch.evaluation.scores import Scores


@dataclass(frozen=True)
class Shown:
    """A tile to be shown."""

    tile: str
    height: int
    width: int
    scores: Scores | None
    """None without ground truth."""


def shown(record: TileRecord, scores: Scores | None) -> Shown:
    """Return what is kept of a record."""
    return Shown(record.tile, record.height, record.width, scores)


@dataclass
class Extremes:
    """The best and the worst tiles by mean IoU; ties stand in order of name, so that the choice is reproducible.

    Tiles that show one class alone, and all of it right, are passed over: there are often thousands of them, each a
    picture of nothing.
    """

    limit: int
    """Tiles to keep at either end."""
    count: int = 0
    """Tiles that are ranked."""
    _first: list[tuple[float, str, Shown]] = field(default_factory=list)
    _last: list[tuple[float, str, Shown]] = field(default_factory=list)

    def add(self, record: TileRecord, scores: Scores) -> None:
        """Look at one tile; it is passed over if its mean IoU is undefined too."""
        if scores.mean_iou is None or (scores.mean_iou == 1 and len(scores.entered) == 1):
            return
        self.count += 1
        place = (-scores.mean_iou, record.tile)
        if len(self._first) < self.limit or (self.limit and place < self._first[-1][:2]):
            insort(self._first, (*place, shown(record, scores)), key=lambda entry: entry[:2])
            del self._first[self.limit :]
        if len(self._last) < self.limit or (self.limit and place > self._last[0][:2]):
            insort(self._last, (*place, shown(record, scores)), key=lambda entry: entry[:2])
            del self._last[: -self.limit]

    def best(self) -> list[Shown]:
        """The best tiles, best first; of few tiles the better half."""
        return [entry[-1] for entry in self._first[: (self.count + 1) // 2]]

    def worst(self) -> list[Shown]:
        """The worst tiles, worst first; none of them is among the best."""
        return [entry[-1] for entry in self._last[::-1][: self.count // 2]]


@dataclass
class Sample:
    """Tiles drawn by hash of their names: the same ones in every order and on every machine."""

    limit: int
    """Tiles to keep."""
    _kept: list[tuple[bytes, Shown]] = field(default_factory=list)

    def add(self, record: TileRecord) -> None:
        """Look at one tile."""
        if not self.limit:
            return
        key = hashlib.sha256(record.tile.encode("utf-8", "surrogateescape")).digest()
        if len(self._kept) < self.limit or key < self._kept[-1][0]:
            insort(self._kept, (key, shown(record, None)), key=lambda entry: entry[0])
            del self._kept[self.limit :]

    def tiles(self) -> list[Shown]:
        """The tiles drawn, in order of name."""
        return sorted((entry[1] for entry in self._kept), key=lambda item: item.tile)

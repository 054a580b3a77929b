"""True positives, false positives and false negatives of many tiles at once, and scores of their sums."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segbatch.evaluation.counts import Counts
from segbatch.spec.metrics import class_of, kind_of

Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Tally:
    """Pixels of each class, int64 [..., C]: by tile or group [N, C], or of a whole set [C].

    Sums stay exact in float64 too, as long as they are below 2^53 pixels.
    """

    tp: NDArray[np.int64]
    fp: NDArray[np.int64]
    fn: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.tp)

    def total(self) -> Tally:
        """Sum over the tiles."""
        return Tally(self.tp.sum(axis=0), self.fp.sum(axis=0), self.fn.sum(axis=0))

    def truth(self) -> NDArray[np.int64]:
        """Valid pixels of each tile, int64 [N]."""
        valid: NDArray[np.int64] = (self.tp + self.fn).sum(axis=-1)
        return valid

    def grouped(self, groups: NDArray[np.intp], number: int) -> Tally:
        """Sum the tiles of each group.

        Args:
            groups: group of each tile, [N], from 0 to `number` - 1.
            number: groups.
        """

        def added(values: NDArray[np.int64]) -> NDArray[np.int64]:
            sums = np.zeros((number, values.shape[1]), np.int64)
            np.add.at(sums, groups, values)
            return sums

        return Tally(added(self.tp), added(self.fp), added(self.fn))


def tally(counts: Iterable[Counts], classes: int) -> Tally:
    """Reduce int64 [C, C + 1] counts of tiles, as `segbatch.evaluation.counts.confusion` gives them.

    Args:
        counts: of each tile; read once.
        classes: number C of classes.
    """
    rows = [_row(table) for table in counts]
    stacked = np.array(rows, np.int64).reshape(len(rows), 3, classes)
    return Tally(stacked[:, 0], stacked[:, 1], stacked[:, 2])


def _row(table: Counts) -> NDArray[np.int64]:
    tp = table.diagonal()
    return np.stack([tp, table[:, : len(table)].sum(axis=0) - tp, table.sum(axis=1) - tp])


def figure(sums: Tally, metric: str, names: Sequence[str]) -> Numbers:
    """Return a metric of summed counts.

    Args:
        sums: of one set or several, [..., C].
        metric: `accuracy`, `iou`, `dice` (means over the classes that have one), `iou:NAME` or `dice:NAME`.
        names: of the classes, by index.

    Returns:
        float64 [...], from 0 to 1; NaN where the metric is undefined.
    """
    kind, name = kind_of(metric), class_of(metric)
    if kind == "accuracy":
        return _ratio(sums.tp.sum(axis=-1), (sums.tp + sums.fn).sum(axis=-1))
    by_class = class_figures(sums, kind)
    if name is not None:
        chosen: Numbers = by_class[..., list(names).index(name)]
        return chosen
    defined = ~np.isnan(by_class)
    return _ratio(np.where(defined, by_class, 0.0).sum(axis=-1), defined.sum(axis=-1))


def class_figures(sums: Tally, kind: str) -> Numbers:
    """Return the IoU of every class, or its Dice coefficient where `kind` is dice: float64 [..., C], NaN undefined.

    IoU = tp / (tp + fp + fn), Dice = 2 tp / (2 tp + fp + fn).
    """
    tp = 2 * sums.tp if kind == "dice" else sums.tp
    return _ratio(tp, tp + sums.fp + sums.fn)


def _ratio(part: NDArray[np.number], whole: NDArray[np.number]) -> Numbers:
    with np.errstate(divide="ignore", invalid="ignore"):
        quotient: Numbers = np.where(whole == 0, np.nan, np.divide(part, whole, dtype=np.float64))
    return quotient

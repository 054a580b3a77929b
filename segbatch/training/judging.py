"""Whether an epoch was better than those before: for the best epoch, for stopping early, for a falling rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from segbatch.spec.metrics import class_of, kind_of, lower_is_better
from segbatch.training.metrics import Figures


def figure_of(figures: Figures, metric: str, names: Sequence[str]) -> float | None:
    """A figure by the name that job files have for it, such as `loss` or `iou:building`; None where undefined.

    Args:
        figures: of a pass over some tiles.
        metric: the name.
        names: of the classes, by index.
    """
    name = class_of(metric)
    if name is None:
        return figures.value(metric)
    by_class = figures.class_iou if kind_of(metric) == "iou" else figures.class_dice
    return by_class[list(names).index(name)]


def is_better(value: float | None, best: float | None, metric: str, min_gain: float = 0.0) -> bool:
    """Tell whether a figure gains more than `min_gain` on the best so far; what is undefined never does."""
    if value is None or best is None:
        return value is not None
    return best - value > min_gain if lower_is_better(metric) else value - best > min_gain


@dataclass
class Watch:
    """Looks at one figure, epoch after epoch."""

    best: float | None = None
    """The best so far."""
    since: int = 0
    """Epochs since it gained."""

    def see(self, value: float | None, metric: str, min_gain: float) -> None:
        """Take in the figure of one more epoch."""
        if is_better(value, self.best, metric, min_gain):
            self.best, self.since = value, 0
        else:
            self.since += 1

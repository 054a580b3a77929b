"""The gate: by which rules a new model (the challenger) takes the champion's place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

from pydantic import Field

from segbatch.spec.data import Group
from segbatch.spec.metrics import class_of
from segbatch.spec.problems import did_you_mean
from segbatch.spec.section import Conflict, Expected, Section

GateMetric = Annotated[
    Literal["accuracy", "iou", "dice"] | Annotated[str, Field(pattern=r"^(iou|dice):.+$")],
    Expected("accuracy, iou, dice, or one class's iou or dice such as iou:building"),
]


class Gate(Section):
    """When a challenger becomes champion: both are scored on the same holdout, and all rules must hold."""

    metric: GateMetric = "iou"
    """The figure that must gain: `iou` or `dice` (means over the classes), `accuracy`, or one class's, such as
    `iou:building`."""
    min_gain: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Least gain in the metric, from 0 to 1: 0.01 is one point of IoU in a hundred."""
    max_class_loss: Annotated[float, Field(ge=0, le=1)] = 0.02
    """Most that the IoU of any class may fall (its Dice, where `metric` is a Dice)."""
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.95
    """Share of the bootstrap's resamples in which the challenger must be the better."""
    resamples: Annotated[int, Field(ge=100, le=1_000_000)] = 2000
    """Resamples of the paired bootstrap."""
    group: Group | None = None
    """What is drawn as one in a resample, such as the tiles of a scene. Defaults to single tiles."""

    def conflicts(self) -> Iterator[Conflict]:
        """A group by column: runs keep no pairing table."""
        if self.group is not None and self.group.column is not None:
            message = "the gate groups tiles by their path: expected `folder` or `pattern`, received `column`"
            yield Conflict(("group", "column"), message)


def unknown_class(gate: Gate, names: Sequence[str]) -> Conflict | None:
    """Return what is wrong where the metric is of a class that the labels do not have."""
    name = class_of(gate.metric)
    if name is None or name in names:
        return None
    guess = did_you_mean(name, names)
    return Conflict(("metric",), f"no class {name!r} in the labels.{guess} Expected one of: {', '.join(names)}")

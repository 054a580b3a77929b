"""Figures by which a training is judged, as job files name them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from segbatch.spec.section import Expected

Metric = Annotated[
    Literal["loss", "accuracy", "iou", "dice"] | Annotated[str, Field(pattern=r"^(iou|dice):.+$")],
    Expected("loss, accuracy, iou, dice, or one class's iou or dice such as iou:building"),
]


def class_of(metric: str) -> str | None:
    """Name of the class whose figure a metric is; None for one over all classes."""
    _, colon, name = metric.partition(":")
    return name if colon else None


def kind_of(metric: str) -> str:
    """`loss`, `accuracy`, `iou` or `dice`: what a metric measures, over all classes or for one."""
    return metric.partition(":")[0]


def column_of(metric: str, prefix: str = "") -> str:
    """Name of a metric's column in the tables of a training; a class has columns of its own, such as `iou building`."""
    return prefix + metric.replace(":", " ", 1)


def lower_is_better(metric: str) -> bool:
    """Tell whether a metric is the better the smaller it is: only the loss is."""
    return metric == "loss"

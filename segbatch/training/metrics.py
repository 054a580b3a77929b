"""Live metrics: integer counts and loss sums that grow in the graph, and the figures made of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from segbatch.errors import SegbatchError
from segbatch.evaluation.scores import score
from segbatch.models.decision import confusion
from segbatch.training.losses import LossSum

METRICS = ("loss", "accuracy", "iou", "dice")


@dataclass(frozen=True)
class Figures:
    """How well a pass over some tiles went; None where nothing defines the figure."""

    loss: float | None
    accuracy: float | None
    iou: float | None
    """Mean over the classes that occur in truth or prediction."""
    dice: float | None
    """Mean over the same classes."""
    class_iou: tuple[float | None, ...]
    """By class index."""
    class_dice: tuple[float | None, ...]
    """By class index."""

    def value(self, metric: str) -> float | None:
        """One of METRICS."""
        if metric not in METRICS:
            raise ValueError(f"expected one of {METRICS}, received {metric!r}")
        value: float | None = getattr(self, metric)
        return value


@dataclass(frozen=True)
class Totals:
    """What a pass has summed up so far."""

    loss: float
    """Sum of the loss."""
    weight: float
    """What the loss is divided by."""
    counts: NDArray[np.int64]
    """[C, C + 1] pixels by true and predicted class."""

    def figures(self) -> Figures:
        """Divide: exact means over all pixels of the pass.

        Raises:
            SegbatchError: the loss is no number any more.
        """
        if not math.isfinite(self.loss):
            raise SegbatchError(
                "The loss is no longer a number: training has diverged. "
                "Lower `optimizer.learning_rate`, or look for odd images with `segbatch check`."
            )
        scores = score(self.counts)
        return Figures(
            loss=self.loss / self.weight if self.weight else None,
            accuracy=scores.accuracy,
            iou=scores.mean_iou,
            dice=scores.mean_dice,
            class_iou=scores.iou,
            class_dice=scores.dice,
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values; floats keep every bit."""
        return {"loss": self.loss, "weight": self.weight, "counts": self.counts.tolist()}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Totals:
        """The reverse of `to_json`."""
        return cls(value["loss"], value["weight"], np.array(value["counts"], np.int64))

    @classmethod
    def nothing(cls, classes: int) -> Totals:
        """Before the first batch."""
        return cls(0.0, 0.0, np.zeros((classes, classes + 1), np.int64))


class Tally:
    """Variables that add up losses and counts, batch by batch, without leaving the graph.

    To be made under the scope of the strategy whose replicas add to it.
    """

    def __init__(self, classes: int) -> None:
        def variable(initial: Any, dtype: tf.DType) -> tf.Variable:
            return tf.Variable(
                initial,
                dtype=dtype,
                trainable=False,
                synchronization=tf.VariableSynchronization.ON_READ,
                aggregation=tf.VariableAggregation.SUM,
            )

        self._classes = classes
        self._strategy = tf.distribute.get_strategy()
        self._put = tf.function(self._assign, autograph=False)
        self._loss = variable(0.0, tf.float64)
        self._weight = variable(0.0, tf.float64)
        self._counts = variable(np.zeros((classes, classes + 1)), tf.int64)

    def add(self, loss: LossSum, truth: tf.Tensor, predicted: tf.Tensor) -> None:
        """Add a batch; to be called inside a graph."""
        self._loss.assign_add(tf.cast(loss.total, tf.float64))
        self._weight.assign_add(tf.cast(loss.weight, tf.float64))
        # Counting on a GPU is refused in deterministic mode; two bytes a pixel are cheap to fetch, and the count runs
        # beside the backward pass.
        with tf.device("CPU:0"):
            counts = confusion(truth, predicted, self._classes)
        self._counts.assign_add(counts)

    def read(self) -> Totals:
        """Fetch the sums over all replicas; waits for the steps that are under way. All processes must ask."""
        loss, weight, counts = (variable.read_value().numpy() for variable in (self._loss, self._weight, self._counts))
        return Totals(float(loss), float(weight), np.array(counts, np.int64))

    def set(self, totals: Totals) -> None:
        """Go on from these sums; the first replica holds them, the others nothing."""
        values = zip((self._loss, self._weight, self._counts), (totals.loss, totals.weight, totals.counts), strict=True)
        self._put(*(tf.constant(value, variable.dtype) for variable, value in values))

    def _assign(self, *values: tf.Tensor) -> None:
        def on_replica(*values: tf.Tensor) -> None:
            first = tf.equal(tf.distribute.get_replica_context().replica_id_in_sync_group, 0)
            for variable, value in zip((self._loss, self._weight, self._counts), values, strict=True):
                variable.assign(tf.where(first, value, tf.zeros_like(value)))

        self._strategy.run(on_replica, args=values)

    def reset(self) -> None:
        """Start again from nothing."""
        self.set(Totals.nothing(self._classes))

"""What a loss is: a total and a weight, over the pixels that are not ignored.

Not a mean: totals and weights add up over batches and devices, so that the loss of a step, of an epoch and of a
validation part is each the exact mean over its own pixels. The weight is always the number of pixels that count, with
class weights too, so that losses can be added to one another.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import tensorflow as tf

from segbatch.models.decision import Head
from segbatch.spec.labels import IGNORED


class LossSum(NamedTuple):
    """A loss before its division; both parts add up."""

    total: tf.Tensor
    """float32 scalar."""
    weight: tf.Tensor
    """float64 scalar, what the total is divided by: the number of pixels that count."""


class Loss(Protocol):
    """A loss of one batch."""

    @property
    def head(self) -> Head:
        """What the network's channels mean under this loss."""

    @property
    def channels(self) -> int:
        """Number of channels that the network must have."""

    def __call__(self, truth: tf.Tensor, logits: tf.Tensor) -> LossSum:
        """Sum the loss of a batch.

        Args:
            truth: uint8 [b, h, w], class indices; 255 is ignored, whatever the network says there.
            logits: [b, h, w, channels], any float type; the loss is computed in float32.
        """


def mean(total: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    """Divide a loss by its weight: float32 scalar, 0 where nothing counts."""
    return tf.math.divide_no_nan(total, tf.cast(weight, total.dtype))


def valid(truth: tf.Tensor) -> tf.Tensor:
    """Bool [b, h, w]: the pixels that count."""
    return tf.not_equal(truth, IGNORED)


def count(truth: tf.Tensor) -> tf.Tensor:
    """float64 scalar: the number of pixels that count."""
    return tf.cast(tf.math.count_nonzero(valid(truth)), tf.float64)


def known(truth: tf.Tensor) -> tf.Tensor:
    """int32 [b, h, w]: class indices, 0 at ignored pixels, since an index out of range gives nan or an error."""
    return tf.cast(tf.where(valid(truth), truth, tf.zeros_like(truth)), tf.int32)


def over_valid(pixels: tf.Tensor, truth: tf.Tensor) -> LossSum:
    """Sum a loss float32 [b, h, w] over the pixels that count."""
    return LossSum(tf.reduce_sum(tf.where(valid(truth), pixels, tf.zeros_like(pixels))), count(truth))

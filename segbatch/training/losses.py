"""What training minimises: losses from logits, over the pixels that are not ignored.

A loss is a total and a weight, not a mean: totals and weights add up over batches and devices, so that the loss of a
step, of an epoch and of a validation part is each the exact mean over its own pixels. A new loss is a class and an
entry in `LOSSES`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import tensorflow as tf

from segbatch.errors import InputError
from segbatch.models.decision import Head
from segbatch.spec.labels import IGNORED


class LossSum(NamedTuple):
    """A loss before its division; both parts add up."""

    total: tf.Tensor
    """float32 scalar."""
    weight: tf.Tensor
    """float64 scalar, what the total is divided by: for a mean over pixels, the number of pixels that count."""


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


def _over_valid(pixels: tf.Tensor, truth: tf.Tensor) -> LossSum:
    valid = tf.not_equal(truth, IGNORED)
    total = tf.reduce_sum(tf.where(valid, pixels, tf.zeros_like(pixels)))
    return LossSum(total, tf.cast(tf.math.count_nonzero(valid), tf.float64))


class BinaryCrossentropy:
    """-log p at pixels of class 1 and -log(1 - p) at pixels of class 0, p being the sigmoid of the one channel."""

    head: Head = "binary"
    channels = 1

    def __init__(self, classes: int) -> None:
        if classes != 2:
            raise InputError(
                f"loss.name: binary_crossentropy needs labels of 2 classes, these have {classes}. "
                "Use sparse_crossentropy, or `auto`."
            )

    def __call__(self, truth: tf.Tensor, logits: tf.Tensor) -> LossSum:
        """Sum over the valid pixels."""
        positive = tf.cast(tf.equal(truth, 1), tf.float32)
        scores = tf.cast(logits[..., 0], tf.float32)
        return _over_valid(tf.nn.sigmoid_cross_entropy_with_logits(labels=positive, logits=scores), truth)


class SparseCrossentropy:
    """-log p of the true class, p being the softmax over one channel a class."""

    head: Head = "multiclass"

    def __init__(self, classes: int) -> None:
        self.channels = classes

    def __call__(self, truth: tf.Tensor, logits: tf.Tensor) -> LossSum:
        """Sum over the valid pixels."""
        # An ignored pixel needs some index that exists: out of range, the operation gives nan on one kind of device
        # and an error on another.
        known = tf.where(tf.equal(truth, IGNORED), tf.zeros_like(truth), truth)
        pixels = tf.nn.sparse_softmax_cross_entropy_with_logits(
            labels=tf.cast(known, tf.int32), logits=tf.cast(logits, tf.float32)
        )
        return _over_valid(pixels, truth)


LOSSES: dict[str, Callable[[int], Loss]] = {
    "binary_crossentropy": BinaryCrossentropy,
    "sparse_crossentropy": SparseCrossentropy,
}
"""Name in a job file -> what makes the loss for a number of classes."""


def make_loss(name: str, classes: int) -> Loss:
    """Make a loss by name; `auto` is binary cross entropy for two classes and sparse cross entropy for more.

    Raises:
        InputError: the name is unknown, or the loss does not fit the number of classes.
    """
    if name == "auto":
        name = "binary_crossentropy" if classes == 2 else "sparse_crossentropy"
    if name not in LOSSES:
        raise InputError(f"loss.name: expected one of auto, {', '.join(sorted(LOSSES))}, received {name!r}.")
    return LOSSES[name](classes)

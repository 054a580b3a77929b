"""From a network's channels to classes, and from classes to counts; in the graph."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import tensorflow as tf

Head = Literal["binary", "multiclass"]
Output = Literal["logits", "probabilities"]


def probabilities(scores: tf.Tensor, head: Head, output: Output) -> tf.Tensor:
    """Turn channels into probabilities.

    Args:
        scores: float32 [..., C], or [..., 1] for a binary head.
        head: how the channels are meant.
        output: what they hold.

    Returns:
        float32 of the same shape, 0 to 1.
    """
    if output == "probabilities":
        return scores
    return tf.sigmoid(scores) if head == "binary" else tf.nn.softmax(scores)


def decide(
    scores: tf.Tensor,
    head: Head,
    output: Output,
    threshold: float = 0.5,
    thresholds: Sequence[float] | None = None,
) -> tf.Tensor:
    """Pick the class of every pixel, without computing probabilities where an order is enough.

    With thresholds t_c, the class is argmax_c p_c / t_c ("threshold moving": Zhou and Liu, "Training Cost-Sensitive
    Neural Networks", IEEE TKDE 2006). Where the t_c sum to 1 as the p_c do, the largest quotient is at least 1, so the
    chosen class has p_c >= t_c; of two classes, p_1 / t >= p_0 / (1 - t) is p_1 >= t, the binary rule. Of logits z_c,
    that is argmax_c z_c - log t_c, since log p_c and z_c differ by the same number for all c.

    Args:
        scores: float32 [..., C], or [..., 1] for a binary head.
        head: how the channels are meant.
        output: what they hold.
        threshold: binary head only: probability, between 0 and 1, from which a pixel is class 1.
        thresholds: multiclass head only: t_c of each class, between 0 and 1; None for equal ones.

    Returns:
        uint8 [...]: class indices. Of equal scores (or quotients) the lower index wins.
    """
    if head == "binary":
        limit = threshold if output == "probabilities" else logit(threshold)
        return tf.cast(scores[..., 0] >= limit, tf.uint8)
    if thresholds is not None:
        each = np.asarray(thresholds, np.float32)
        scores = scores / each if output == "probabilities" else scores - np.log(each)
    return tf.cast(tf.argmax(scores, axis=-1, output_type=tf.int32), tf.uint8)


def logit(probability: float) -> float:
    """Inverse of the sigmoid: log(p / (1 - p)), for p between 0 and 1."""
    return math.log(probability / (1.0 - probability))


def confusion(truth: tf.Tensor, predicted: tf.Tensor, classes: int) -> tf.Tensor:
    """Count pixels by true and predicted class.

    Args:
        truth: uint8 [...] class indices; anything from `classes` on (255: ignored) is left out.
        predicted: uint8, same shape, class indices below `classes`.
        classes: number of classes C.

    Returns:
        int64 [C, C + 1]; the last column (no class predicted) is 0 here and is kept so that counts add up with
        those of foreign masks.
    """
    true = tf.cast(tf.reshape(truth, [-1]), tf.int32)
    guess = tf.cast(tf.reshape(predicted, [-1]), tf.int32)
    width = classes + 1
    # Ignored pixels go to an extra bin beyond the table: a fixed-size bincount is cheaper than a boolean mask.
    cell = tf.where(true < classes, true * width + guess, classes * width)
    counts = tf.math.bincount(cell, minlength=classes * width + 1, maxlength=classes * width + 1, dtype=tf.int32)
    return tf.reshape(tf.cast(counts[:-1], tf.int64), [classes, width])

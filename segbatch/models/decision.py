"""From a network's channels to classes, and from classes to counts; in the graph."""

from __future__ import annotations

import math
from typing import Literal

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


def decide(scores: tf.Tensor, head: Head, output: Output, threshold: float = 0.5) -> tf.Tensor:
    """Pick the class of every pixel, without computing probabilities where an order is enough.

    Args:
        scores: float32 [..., C], or [..., 1] for a binary head.
        head: how the channels are meant.
        output: what they hold.
        threshold: binary head only: probability, between 0 and 1, from which a pixel is class 1.

    Returns:
        uint8 [...]: class indices. Of equal scores the lower index wins.
    """
    if head == "binary":
        limit = threshold if output == "probabilities" else logit(threshold)
        return tf.cast(scores[..., 0] >= limit, tf.uint8)
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

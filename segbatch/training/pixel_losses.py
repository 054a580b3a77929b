"""Losses that are a mean over pixels: cross entropy and focal loss, with or without class weights."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from segbatch.models.decision import Head
from segbatch.training.loss_sum import LossSum, known, over_valid


class Crossentropy:
    """w(c) * -log p(c) at pixels of class c, p being the network's probability of it.

    The mean is over the number of valid pixels, not over the sum of their weights: twice the weights, twice the loss.

    Args:
        head: what the channels mean. `binary`: p is the sigmoid of the one channel at pixels of class 1, and one minus
            that at pixels of class 0. `multiclass`: p is the softmax over one channel a class.
        classes: number of classes C.
        weights: [C] class weights; None for 1 each.
    """

    def __init__(self, head: Head, classes: int, weights: NDArray[np.floating] | None = None) -> None:
        self.head: Head = head
        self.channels = 1 if head == "binary" else classes
        self._weights = None if weights is None else np.asarray(weights, np.float32)

    def __call__(self, truth: tf.Tensor, logits: tf.Tensor) -> LossSum:
        """Sum over the valid pixels."""
        return over_valid(weighted(self._pixels(truth, tf.cast(logits, tf.float32)), truth, self._weights), truth)

    def _pixels(self, truth: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        if self.head == "binary":
            positive = tf.cast(tf.equal(truth, 1), tf.float32)
            return tf.nn.sigmoid_cross_entropy_with_logits(labels=positive, logits=logits[..., 0])
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=known(truth), logits=logits)


class Focal:
    """w(c) * (1 - p(c))^gamma * -log p(c) at pixels of class c.

    Lin et al., "Focal loss for dense object detection", 2017, equation 5; the mean is over the number of valid pixels.
    With m, the logit of the true class minus the log of the others' summed exponentials, p = sigmoid(m): both factors
    come from m without ever forming p, so that they and their gradients stay finite at any logits and gamma.

    Args:
        head: what the channels mean, as in `Crossentropy`.
        classes: number of classes C.
        gamma: at least 0; 0 gives cross entropy.
        weights: [C] class weights; None for 1 each. The paper's alpha is 1 - alpha and alpha.
    """

    def __init__(self, head: Head, classes: int, gamma: float, weights: NDArray[np.floating] | None = None) -> None:
        self.head: Head = head
        self.channels = 1 if head == "binary" else classes
        self._classes, self._gamma = classes, gamma
        self._weights = None if weights is None else np.asarray(weights, np.float32)

    def __call__(self, truth: tf.Tensor, logits: tf.Tensor) -> LossSum:
        """Sum over the valid pixels."""
        margin = self._margin(truth, tf.cast(logits, tf.float32))
        pixels = tf.exp(-self._gamma * tf.nn.softplus(margin)) * tf.nn.softplus(-margin)
        return over_valid(weighted(pixels, truth, self._weights), truth)

    def _margin(self, truth: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        if self.head == "binary":
            return tf.where(tf.equal(truth, 1), logits[..., 0], -logits[..., 0])
        true = tf.one_hot(known(truth), self._classes, on_value=True, off_value=False, dtype=tf.bool)
        own = tf.reduce_sum(tf.where(true, logits, tf.zeros_like(logits)), axis=-1)
        others = tf.where(true, tf.fill(tf.shape(logits), tf.float32.min), logits)
        return own - tf.reduce_logsumexp(others, axis=-1)


def weighted(pixels: tf.Tensor, truth: tf.Tensor, weights: NDArray[np.float32] | None) -> tf.Tensor:
    """Multiply the loss of each pixel, float32 [b, h, w], with the weight of its true class."""
    return pixels if weights is None else pixels * tf.gather(tf.constant(weights), known(truth))

"""Augmentation of colours: what happens to the values of an image, whose mask stays as it is.

A further operation is one function, registered under its `op`. It gets the image, float32 [h, w, bands] of 0 to `peak`,
the step's amount, a seed of its own, and the peak.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

Change = Callable[[tf.Tensor, float, tf.Tensor, float], tf.Tensor]

COLORS: dict[str, Change] = {}
"""Changes of colours by the `op` that names them."""


def color(name: str) -> Callable[[Change], Change]:
    """Register what an `op` does to an image; what leaves the range of values is cut off."""

    def register(change: Change) -> Change:
        def limited(image: tf.Tensor, amount: float, seed: tf.Tensor, peak: float) -> tf.Tensor:
            return tf.clip_by_value(change(image, amount, seed, peak), 0.0, peak)

        COLORS[name] = limited
        return limited

    return register


@color("hue")
def _hue(image: tf.Tensor, amount: float, seed: tf.Tensor, peak: float) -> tf.Tensor:
    """Turn the colour circle; the way to HSV and back keeps any range of values."""
    return tf.image.adjust_hue(image, _draw(seed, amount))


@color("saturation")
def _saturation(image: tf.Tensor, amount: float, seed: tf.Tensor, peak: float) -> tf.Tensor:
    """Mix with, or move away from, the grey of equal brightness (ITU-R BT.601 luma)."""
    grey = tf.reduce_sum(image * tf.constant([0.299, 0.587, 0.114]), axis=-1, keepdims=True)
    return grey + (image - grey) * (1.0 + _draw(seed, amount))


@color("brightness")
def _brightness(image: tf.Tensor, amount: float, seed: tf.Tensor, peak: float) -> tf.Tensor:
    return image + _draw(seed, amount * peak)


@color("contrast")
def _contrast(image: tf.Tensor, amount: float, seed: tf.Tensor, peak: float) -> tf.Tensor:
    """Stretch each band about its mean over the image."""
    mean = tf.reduce_mean(image, axis=[0, 1], keepdims=True)
    return mean + (image - mean) * (1.0 + _draw(seed, amount))


@color("noise")
def _noise(image: tf.Tensor, amount: float, seed: tf.Tensor, peak: float) -> tf.Tensor:
    """Add Gaussian noise, drawn for each pixel and band."""
    return image + tf.random.stateless_normal(tf.shape(image), seed, 0.0, amount * peak, alg="philox")


def _draw(seed: tf.Tensor, most: float) -> tf.Tensor:
    """One number from -most to most, float32 []."""
    return tf.random.stateless_uniform([], seed, -most, most, alg="philox")

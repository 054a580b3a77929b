"""Bringing images and masks to another size; one home for the rules, so that both stay aligned.

All methods take pixel centres at half: pixel i of n covers [i/n, (i + 1)/n] of the side, whatever n is.
"""

from __future__ import annotations

import tensorflow as tf


def resize_image(image: tf.Tensor, size: tuple[int, int] | tf.Tensor, method: str) -> tf.Tensor:
    """Resize images, without antialiasing (`area` averages by itself).

    Args:
        image: [h, w, bands] or [B, h, w, bands], any number type.
        size: height and width.
        method: bilinear, area or lanczos3. GPUs only know the first; TensorFlow runs the others on the CPU.

    Returns:
        float32 in the image's own range; Lanczos overshoots it a little at edges.
    """
    return tf.cast(tf.image.resize(image, size, method=method), tf.float32)


def resize_mask(mask: tf.Tensor, size: tuple[int, int] | tf.Tensor) -> tf.Tensor:
    """Resize masks to the nearest pixel.

    Args:
        mask: [h, w] or [B, h, w], class indices or raw values.
        size: height and width.

    Returns:
        The mask's own type in the new size, holding no value that was not there.
    """
    return tf.image.resize(mask[..., tf.newaxis], size, method="nearest")[..., 0]

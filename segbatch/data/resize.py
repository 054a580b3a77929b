"""Bringing images and masks to another size; one home for the rules, so that both stay aligned."""

from __future__ import annotations

import tensorflow as tf


def resize_image(image: tf.Tensor, size: tuple[int, int] | tf.Tensor, method: str) -> tf.Tensor:
    """Resize images.

    Args:
        image: [h, w, bands] or [B, h, w, bands], any number type.
        size: height and width.
        method: bilinear, area or lanczos3.

    Returns:
        float32 in the image's own range; Lanczos may go a little beyond it.
    """
    return tf.cast(tf.image.resize(image, size, method=method), tf.float32)


def resize_mask(mask: tf.Tensor, size: tuple[int, int] | tf.Tensor) -> tf.Tensor:
    """Resize masks by the nearest pixel, centres aligned as in `resize_image`.

    Args:
        mask: uint8 [h, w] or [B, h, w].
        size: height and width.

    Returns:
        uint8 of the new size, holding no value that was not there.
    """
    return tf.image.resize(mask[..., tf.newaxis], size, method="nearest")[..., 0]

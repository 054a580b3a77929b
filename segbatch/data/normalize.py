"""How pixel values become the network's input; the same for training and predicting."""

from __future__ import annotations

import tensorflow as tf


def normalize(image: tf.Tensor, how: str, depth: int) -> tf.Tensor:
    """Normalise pixels.

    Args:
        image: [..., bands] of any number type, 0 to 2**depth - 1.
        how: `unit` divides by the largest value that the bits can hold.
        depth: bits of a band, 8 or 16.

    Returns:
        float32 of the same shape; 0 to 1 for `unit`.

    Raises:
        ValueError: an unknown `how`.
    """
    if how != "unit":
        raise ValueError(f"expected how to be 'unit', received {how!r}")
    return tf.cast(image, tf.float32) / float(2**depth - 1)

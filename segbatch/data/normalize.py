"""How pixel values become the network's input; the same for training and predicting."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from segbatch.spec.bundle import BundleInfo
from segbatch.spec.normalization import IMAGENET_DEVIATION, IMAGENET_MEAN, MEASURED, Normalize


class Normalization:
    """Normalises pixels: divided by the largest value, minus a mean, over a deviation.

    Args:
        how: one of the ways of `model.normalize`.
        depth: bits of a band, 8 or 16.
        mean: measured in units of 0 to 1: of each band, or [h, w, bands] for `standardize_image`. Only for measured
            ways.
        deviation: of each band, or one for all; a deviation of 0 counts as 1. Only for measured ways.

    Raises:
        ValueError: an unknown `how`, or measured statistics where they do not belong or are missing.
    """

    def __init__(
        self,
        how: Normalize,
        depth: int,
        mean: Sequence[float] | NDArray[np.floating] | None = None,
        deviation: Sequence[float] | NDArray[np.floating] | None = None,
    ) -> None:
        if how not in ("unit", "imagenet", *MEASURED):
            raise ValueError(f"expected how to be unit, imagenet, {' or '.join(MEASURED)}, received {how!r}")
        if (how in MEASURED) != (mean is not None and deviation is not None):
            raise ValueError(f"{how}: expected statistics for {' and '.join(MEASURED)} and for nothing else")
        if how == "imagenet":
            mean, deviation = IMAGENET_MEAN, IMAGENET_DEVIATION
        self._largest = float(2**depth - 1)
        self._mean = None if mean is None else np.asarray(mean, np.float32)
        divisor = None if deviation is None else np.asarray(deviation, np.float32)
        self._divisor = None if divisor is None else np.where(divisor > 0, divisor, np.float32(1))

    def __call__(self, image: tf.Tensor) -> tf.Tensor:
        """Normalise images.

        Args:
            image: [..., h, w, bands] of any number type, 0 to 2**depth - 1.

        Returns:
            float32 of the same shape; 0 to 1 for `unit`.
        """
        unit = tf.cast(image, tf.float32) / self._largest
        return unit if self._mean is None else (unit - self._mean) / self._divisor


def normalization_of(info: BundleInfo, mean_image: NDArray[np.floating] | None) -> Normalization:
    """Normalise as a bundle's network was trained; `mean_image` is the bundle's, where it has one."""
    mean = info.mean if mean_image is None else mean_image
    return Normalization(info.normalize, info.depth, mean, info.deviation)

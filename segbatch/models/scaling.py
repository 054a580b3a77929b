"""Pixels from 0 to 1 brought to the range that published weights were trained on, as a part of the network."""

from __future__ import annotations

import keras
from keras import layers, ops

_BLUE_GREEN_RED = (103.939, 116.779, 123.68)
"""Means over ImageNet, from 0 to 255, of `keras.applications.imagenet_utils` in its mode `caffe`."""
_MIDDLE = 127.5


def caffe(pixels: keras.KerasTensor) -> keras.KerasTensor:
    """Return float32 of the same shape, from about -128 to 151.

    Three bands, taken as red, green and blue, come out as blue, green and red minus their means over ImageNet. For any
    other bands there are no such means: they keep their order and lie around 0.
    """
    # In float32 also under a mixed precision policy, which would round the pixels.
    if pixels.shape[-1] != 3:
        return layers.Rescaling(255.0, offset=-_MIDDLE, dtype="float32", name="rescaling")(pixels)
    offset = [-mean for mean in _BLUE_GREEN_RED]
    return layers.Rescaling(255.0, offset=offset, dtype="float32", name="rescaling")(ops.flip(pixels, axis=-1))

"""MobileNetV2 as an encoder.

Sandler et al.: MobileNetV2, 2018 (arXiv:1801.04381); the network and its ImageNet weights are those of Keras.
"""

from __future__ import annotations

import warnings

import keras

from segbatch.models.registry import ENCODERS, Published
from segbatch.spec.data import Size

_URL = "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/"
_SIDES = (96, 128, 160, 192, 224)
"""Input sides that Keras publishes weights for; any other size takes those of the last."""


@ENCODERS.register("mobilenet_v2")
class MobileNetV2:
    """Five feature maps, at 1/2 to 1/32 of the input's height and width."""

    multiple = 32
    taps: tuple[str, ...] = (
        "block_1_expand_relu",
        "block_3_expand_relu",
        "block_6_expand_relu",
        "block_13_expand_relu",
        "block_16_project",
    )

    def backbone(self, bands: int) -> keras.Model:
        """Return the network without its classifier, for inputs float32 (B, any, any, bands), 0 to 1."""
        inputs = keras.Input((None, None, bands), name="pixels")
        # The published weights were trained on -1 to 1. In float32 also under a mixed precision policy, which would
        # round the pixels.
        scaled = keras.layers.Rescaling(2.0, offset=-1.0, dtype="float32", name="rescaling")(inputs)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="This model usually expects 1 or 3 input channels")
            return keras.applications.MobileNetV2(
                input_shape=(None, None, bands), input_tensor=scaled, include_top=False, weights=None
            )

    def published(self, size: Size) -> Published:
        """Return Keras' file of ImageNet weights for this input size: width 1.0, no classifier."""
        height, width = size
        side = height if height == width and height in _SIDES else _SIDES[-1]
        name = f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_{side}_no_top.h5"
        return Published(name, _URL + name)

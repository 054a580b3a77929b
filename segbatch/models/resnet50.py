"""ResNet50 as an encoder.

He et al.: Deep Residual Learning for Image Recognition, 2016 (arXiv:1512.03385); the network, with its strides at the
first convolution of a block, and its ImageNet weights are those of Keras.
"""

from __future__ import annotations

import keras

from segbatch.models.registry import ENCODERS, Published
from segbatch.models.scaling import caffe
from segbatch.spec.data import Size

_NAME = "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
_URL = "https://storage.googleapis.com/tensorflow/keras-applications/resnet/"


@ENCODERS.register("resnet50")
class ResNet50:
    """Five feature maps, at 1/2 to 1/32 of the input's height and width: the ends of the stages."""

    multiple = 32
    taps: tuple[str, ...] = (
        "conv1_relu",
        "conv2_block3_out",
        "conv3_block4_out",
        "conv4_block6_out",
        "conv5_block3_out",
    )

    def backbone(self, bands: int) -> keras.Model:
        """Return the network without its classifier, for inputs float32 (B, any, any, bands), 0 to 1."""
        inputs = keras.Input((None, None, bands), name="pixels")
        return keras.applications.ResNet50(input_tensor=caffe(inputs), include_top=False, weights=None)

    def published(self, size: Size) -> Published:
        """Return Keras' file of ImageNet weights, the same for every size: no classifier."""
        return Published(_NAME, _URL + _NAME)

"""VGG16 as an encoder.

Simonyan, Zisserman: Very Deep Convolutional Networks, 2015 (arXiv:1409.1556); the network and its ImageNet weights are
those of Keras.
"""

from __future__ import annotations

import keras

from segbatch.models.registry import ENCODERS, Published
from segbatch.models.scaling import caffe
from segbatch.spec.data import Size

_NAME = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
_URL = "https://storage.googleapis.com/tensorflow/keras-applications/vgg16/"


@ENCODERS.register("vgg16")
class VGG16:
    """Five feature maps, from the input's own height and width to 1/16: the last of each block before its pooling."""

    multiple = 16
    taps: tuple[str, ...] = ("block1_conv2", "block2_conv2", "block3_conv3", "block4_conv3", "block5_conv3")

    def backbone(self, bands: int) -> keras.Model:
        """Return the network without its classifier, for inputs float32 (B, any, any, bands), 0 to 1."""
        inputs = keras.Input((None, None, bands), name="pixels")
        return keras.applications.VGG16(input_tensor=caffe(inputs), include_top=False, weights=None)

    def published(self, size: Size) -> Published:
        """Return Keras' file of ImageNet weights, the same for every size: no classifier."""
        return Published(_NAME, _URL + _NAME)

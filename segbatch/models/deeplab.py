"""DeepLabv3+: atrous convolutions side by side on coarse features, then a short decoder with fine ones.

Chen et al.: Encoder-Decoder with Atrous Separable Convolution, 2018 (arXiv:1802.02611). On any encoder, at output
stride 16: its last stage stays at 1/16 and takes atrous convolutions in place of a stride.
"""

from __future__ import annotations

import keras
from keras import layers

from segbatch.models.blocks import conv_norm_relu, dropped, logits, normalized
from segbatch.models.features import encoder_of, features_of
from segbatch.models.registry import ARCHITECTURES
from segbatch.spec.network import Model

FILTERS = 256
STRIDE = 16
FINE = 4
RATES = (6, 12, 18)
"""Of the atrous convolutions, for output stride 16."""
_FINE_FILTERS = 48
"""Channels that the fine features are reduced to, so that they do not outweigh the coarse ones."""


@ARCHITECTURES.register("deeplab_v3_plus")
class DeepLabV3Plus:
    """Atrous spatial pyramid pooling on features at 1/16, joined with features at 1/4; `filters` defaults to 256."""

    def multiple(self, model: Model) -> int:
        """Return the output stride.

        Raises:
            InputError: no encoder, or an unknown one.
        """
        encoder_of(model)
        return STRIDE

    def connect(self, model: Model, inputs: keras.KerasTensor, channels: int) -> keras.KerasTensor:
        """Return logits, float32 (B, height, width, channels).

        Raises:
            InputError: unknown names, an encoder without such features, or weights that are missing or do not fit.
        """
        filters = model.filters or FILTERS
        features = features_of(model, inputs, strides=(FINE, STRIDE), deepest=STRIDE)
        x = _pyramid(features[STRIDE], filters, model.norm)
        x = dropped(x, model.dropout, "pyramid_dropout")
        x = layers.UpSampling2D(STRIDE // FINE, interpolation="bilinear", name="pyramid_resize")(x)
        fine = conv_norm_relu(features[FINE], _FINE_FILTERS, 1, model.norm, "fine")
        x = layers.Concatenate(name="skip")([x, fine])
        for part in range(2):
            x = _separable(x, filters, model.norm, f"decoder{part}")
        x = dropped(x, model.dropout, "decoder_dropout")
        return logits(x, channels, enlarge=FINE)


def _pyramid(x: keras.KerasTensor, filters: int, norm: str) -> keras.KerasTensor:
    """Atrous spatial pyramid pooling: (B, h, w, any) to (B, h, w, filters)."""
    branches = [conv_norm_relu(x, filters, 1, norm, "pyramid1")]
    branches += [_separable(x, filters, norm, f"pyramid{rate}", dilation=rate) for rate in RATES]
    whole = layers.GlobalAveragePooling2D(keepdims=True, name="pool")(x)
    whole = conv_norm_relu(whole, filters, 1, norm, "pool")
    joined = layers.Concatenate(name="pyramid")(branches)
    # A 1x1 convolution of all five branches, of which the last is one pixel spread over the picture: the part of the
    # kernel that meets it is a convolution of its own, and its result is spread by the sum. So it fits every size.
    parts = [
        layers.Conv2D(filters, 1, use_bias=norm == "none", kernel_initializer="he_normal", name="project")(joined),
        layers.Conv2D(filters, 1, use_bias=False, kernel_initializer="he_normal", name="project_pool")(whole),
    ]
    x = normalized(layers.Add(name="project_sum")(parts), norm, "project_norm")
    return layers.ReLU(name="project_relu")(x)


def _separable(x: keras.KerasTensor, filters: int, norm: str, name: str, *, dilation: int = 1) -> keras.KerasTensor:
    """A 3x3 convolution a channel and a 1x1 convolution over the channels, each normalised and rectified."""
    depthwise = layers.DepthwiseConv2D(
        3,
        padding="same",
        dilation_rate=dilation,
        use_bias=norm == "none",
        depthwise_initializer="he_normal",
        name=f"{name}_depthwise",
    )
    x = layers.ReLU(name=f"{name}_depthwise_relu")(normalized(depthwise(x), norm, f"{name}_depthwise_norm"))
    return conv_norm_relu(x, filters, 1, norm, name)

"""Parts that several networks are made of."""

from __future__ import annotations

import math

import keras
from keras import layers

from segbatch.models.dropout import Dropout

MOMENTUM = 0.9
"""Of batch normalisation's running statistics. Keras' own 0.99 needs some 700 steps before the network predicts as it
trained: on small data sets validation would jump between epochs, and masks score far below the training."""
_GROUPS = 32
"""Of group normalisation, as in its paper; where they do not divide the channels, the most that divide both."""


def normalized(x: keras.KerasTensor, kind: str, name: str) -> keras.KerasTensor:
    """Normalise activations, (B, h, w, C) to the same shape.

    Args:
        x: activations.
        kind: `batch` (Ioffe and Szegedy 2015, arXiv:1502.03167), `group` (Wu and He 2018, arXiv:1803.08494), `layer`
            (Ba et al. 2016, arXiv:1607.06450; over height, width and channels of a picture, that is one group) or
            `none`.
        name: name of the layer.
    """
    if kind == "batch":
        return layers.BatchNormalization(momentum=MOMENTUM, name=name)(x)
    if kind in ("group", "layer"):
        groups = math.gcd(_GROUPS, x.shape[-1]) if kind == "group" else 1
        return layers.GroupNormalization(groups, name=name)(x)
    return x


def conv_norm_relu(
    x: keras.KerasTensor, filters: int, kernel: int, kind: str, name: str, *, dilation: int = 1
) -> keras.KerasTensor:
    """Convolve, normalise, rectify: (B, h, w, any) to (B, h, w, filters).

    Args:
        x: activations.
        filters: channels of the result.
        kernel: side of the kernel.
        kind: normalisation, as for `normalized`.
        name: beginning of the layers' names.
        dilation: step between the kernel's taps in pixels.
    """
    conv = layers.Conv2D(
        filters,
        kernel,
        padding="same",
        dilation_rate=dilation,
        use_bias=kind == "none",
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )
    return layers.ReLU(name=f"{name}_relu")(normalized(conv(x), kind, f"{name}_norm"))


def doubled(x: keras.KerasTensor, filters: int, how: str, name: str) -> keras.KerasTensor:
    """Double height and width: (B, h, w, any) to (B, 2h, 2w, filters).

    Args:
        x: activations.
        filters: channels of the result.
        how: `transpose`, a transposed convolution, or `bilinear` or `nearest`, a resize and a convolution, which leave
            no checkerboard (Odena et al. 2016, doi:10.23915/distill.00003).
        name: beginning of the layers' names.
    """
    if how == "transpose":
        return layers.Conv2DTranspose(filters, 3, strides=2, padding="same", name=f"{name}_transpose")(x)
    x = layers.UpSampling2D(2, interpolation=how, name=f"{name}_resize")(x)
    return layers.Conv2D(filters, 3, padding="same", name=f"{name}_reduce")(x)


def dropped(x: keras.KerasTensor, rate: float, name: str) -> keras.KerasTensor:
    """Drop a share of activations in training; no layer at all for a rate of 0."""
    return Dropout(rate, name=name)(x) if rate else x


def logits(x: keras.KerasTensor, channels: int, *, kernel: int = 1, enlarge: int = 1) -> keras.KerasTensor:
    """Return one score a class: (B, h, w, any) to float32 (B, h * enlarge, w * enlarge, channels).

    Args:
        x: activations.
        channels: channels of the result.
        kernel: side of the kernel.
        enlarge: factor of a bilinear resize that follows.
    """
    # float32 also under a mixed precision policy: losses and thresholds need the digits.
    x = layers.Conv2D(channels, kernel, padding="same", dtype="float32", name="logits")(x)
    if enlarge == 1:
        return x
    return layers.UpSampling2D(enlarge, interpolation="bilinear", dtype="float32", name="logits_resize")(x)

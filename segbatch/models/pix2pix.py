"""The decoder of pix2pix: blocks that double height and width, each joined with the encoder's features of that size.

Isola et al.: Image-to-Image Translation with Conditional Adversarial Networks, 2017 (arXiv:1611.07004).
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers

from segbatch.models.blocks import logits
from segbatch.models.registry import DECODERS
from segbatch.spec.network import Model

_FILTERS = (64, 128, 256, 512)
"""Filters of the blocks, finest first."""


def upsample(filters: int, size: int, apply_dropout: bool = False, *, name: str | None = None) -> keras.Sequential:
    """Return a block that doubles height and width: (B, h, w, any) to (B, 2h, 2w, filters).

    Args:
        filters: channels of the result.
        size: side of the transposed convolution's kernel.
        apply_dropout: drop half of the activations in training.
        name: name of the block.
    """
    parts = [
        layers.Conv2DTranspose(
            filters,
            size,
            strides=2,
            padding="same",
            use_bias=False,
            kernel_initializer=keras.initializers.RandomNormal(mean=0.0, stddev=0.02),
            name="transpose",
        ),
        layers.BatchNormalization(name="norm"),
        *([layers.Dropout(0.5, name="dropout")] if apply_dropout else []),
        layers.ReLU(name="relu"),
    ]
    return keras.Sequential(parts, name=name)


@DECODERS.register("pix2pix")
def pix2pix(features: Sequence[keras.KerasTensor], channels: int, model: Model, stride: int) -> keras.KerasTensor:
    """Return logits, float32 (B, height, width, channels).

    Five features take blocks of 512, 256, 128 and 64 filters; fewer or more go on with that row.
    """
    *skips, x = features
    for step in reversed(range(len(skips))):
        filters = _FILTERS[min(step, len(_FILTERS) - 1)]
        x = upsample(filters, 3, name=f"up{step}")(x)
        x = layers.Concatenate(name=f"up{step}_skip")([x, skips[step]])
    if stride > 1:
        x = layers.Conv2DTranspose(_FILTERS[0], 3, strides=2, padding="same", name="last_transpose")(x)
    return logits(x, channels)

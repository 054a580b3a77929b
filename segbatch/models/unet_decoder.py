"""The decoder of U-Net on the features of any encoder.

Ronneberger, Fischer, Brox: U-Net, 2015 (arXiv:1505.04597); on a pretrained encoder, Iglovikov, Shvets: TernausNet, 2018
(arXiv:1801.05746).
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers

from segbatch.models.blocks import conv_norm_relu, doubled, dropped, logits
from segbatch.models.registry import DECODERS
from segbatch.spec.network import Model

FILTERS = 16


@DECODERS.register("unet")
def unet(features: Sequence[keras.KerasTensor], channels: int, model: Model, stride: int) -> keras.KerasTensor:
    """Return logits, float32 (B, height, width, channels).

    Each level doubles the picture, joins the features of that size and convolves twice. Those at full height and width
    have `filters` (16) filters, each coarser level twice as many.
    """
    width = model.filters or FILTERS
    *skips, x = features
    # At full height and width there may be no features to join.
    levels: list[keras.KerasTensor | None] = [*([None] if stride > 1 else []), *skips]
    for step in reversed(range(len(levels))):
        filters, skip = width * 2**step, levels[step]
        x = doubled(x, filters, model.upsampling, f"up{step}")
        x = dropped(x, model.dropout, f"up{step}_dropout")
        if skip is not None:
            x = layers.Concatenate(name=f"up{step}_skip")([x, skip])
        for part in range(2):
            x = conv_norm_relu(x, filters, 3, model.norm, f"up{step}_{part}")
    return logits(x, channels)

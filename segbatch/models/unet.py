"""The classic U-Net: levels of two convolutions, halved by max pooling and doubled again.

Ronneberger, Fischer, Brox: U-Net, 2015 (arXiv:1505.04597), with padding, normalisation and dropout.
"""

from __future__ import annotations

import keras
from keras import layers

from segbatch.models.blocks import doubled, dropped, logits, normalized
from segbatch.models.registry import ARCHITECTURES
from segbatch.spec.network import Model

FILTERS = 64
DEPTH = 4


@ARCHITECTURES.register("unet")
class UNet:
    """U-Net of any depth and width; `filters` 64 and `depth` 4 make the classic one, with 64 to 1024 filters."""

    def multiple(self, model: Model) -> int:
        """Return two to the power of `depth`: each level halves the picture."""
        return 1 << (model.depth or DEPTH)

    def connect(self, model: Model, inputs: keras.KerasTensor, channels: int) -> keras.KerasTensor:
        """Return logits, float32 (B, height, width, channels)."""
        width, depth = model.filters or FILTERS, model.depth or DEPTH
        x, skips = inputs, []
        for step in range(depth):
            x = _level(x, width * 2**step, model.norm, f"down{step}")
            skips.append(x)
            x = layers.MaxPooling2D(2, name=f"down{step}_pool")(x)
            x = dropped(x, model.dropout, f"down{step}_dropout")
        x = _level(x, width * 2**depth, model.norm, "bottom")
        for step in reversed(range(depth)):
            filters = width * 2**step
            x = doubled(x, filters, model.upsampling, f"up{step}")
            x = dropped(x, model.dropout, f"up{step}_dropout")
            x = layers.Concatenate(name=f"up{step}_skip")([x, skips[step]])
            x = _level(x, filters, model.norm, f"up{step}")
        return logits(x, channels)


def _level(x: keras.KerasTensor, filters: int, norm: str, name: str) -> keras.KerasTensor:
    for part in (1, 2):
        conv = layers.Conv2D(
            filters, 3, padding="same", activation="relu", kernel_initializer="he_normal", name=f"{name}_conv{part}"
        )
        x = normalized(conv(x), norm, f"{name}_norm{part}")
    return x

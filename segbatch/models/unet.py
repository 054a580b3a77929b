"""The classic U-Net: levels of two convolutions, halved by max pooling, doubled by transposed convolutions.

Ronneberger, Fischer, Brox: U-Net, 2015 (arXiv:1505.04597), with padding, batch normalisation and dropout.
"""

from __future__ import annotations

import keras
from keras import layers

from segbatch.models.dropout import Dropout
from segbatch.models.registry import ARCHITECTURES
from segbatch.spec.network import Model

MOMENTUM = 0.9
"""Of the running statistics. Keras' own 0.99 needs some 700 steps before the network predicts as it trained: on small
data sets validation would jump between epochs, and masks score far below the training."""


@ARCHITECTURES.register("unet")
class UNet:
    """U-Net of any depth and width; `filters` 64 and `depth` 4 make the classic one, with 64 to 1024 filters."""

    def multiple(self, model: Model) -> int:
        """Return two to the power of `depth`: each level halves the picture."""
        return 1 << model.depth

    def connect(self, model: Model, inputs: keras.KerasTensor, channels: int) -> keras.KerasTensor:
        """Return logits, float32 (B, height, width, channels)."""
        x, skips = inputs, []
        for step in range(model.depth):
            x = _level(x, model.filters * 2**step, f"down{step}")
            skips.append(x)
            x = layers.MaxPooling2D(2, name=f"down{step}_pool")(x)
            x = _drop(x, model.dropout, f"down{step}_dropout")
        x = _level(x, model.filters * 2**model.depth, "bottom")
        for step in reversed(range(model.depth)):
            filters = model.filters * 2**step
            x = layers.Conv2DTranspose(filters, 3, strides=2, padding="same", name=f"up{step}_transpose")(x)
            x = _drop(x, model.dropout, f"up{step}_dropout")
            x = layers.Concatenate(name=f"up{step}_skip")([x, skips[step]])
            x = _level(x, filters, f"up{step}")
        # float32 also under a mixed precision policy: losses and thresholds need the digits.
        return layers.Conv2D(channels, 1, dtype="float32", name="logits")(x)


def _level(x: keras.KerasTensor, filters: int, name: str) -> keras.KerasTensor:
    for part in (1, 2):
        conv = layers.Conv2D(
            filters, 3, padding="same", activation="relu", kernel_initializer="he_normal", name=f"{name}_conv{part}"
        )
        x = layers.BatchNormalization(momentum=MOMENTUM, name=f"{name}_norm{part}")(conv(x))
    return x


def _drop(x: keras.KerasTensor, rate: float, name: str) -> keras.KerasTensor:
    return Dropout(rate, name=name)(x) if rate else x

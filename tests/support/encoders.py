"""An encoder that is quick to build."""

from __future__ import annotations

import keras
from keras import layers

from segbatch.models.registry import ENCODERS


@ENCODERS.register("small")
class Small:
    """Two features, and a head that the decoder does not take, at a quarter of the input."""

    multiple = 4
    taps = ("first", "second")

    def backbone(self, bands):
        inputs = keras.Input((None, None, bands))
        x = layers.Conv2D(4, 3, strides=2, padding="same", name="first")(inputs)
        x = layers.BatchNormalization(name="norm")(x)
        x = layers.Conv2D(6, 3, strides=2, padding="same", name="second")(x)
        return keras.Model(inputs, layers.Conv2D(8, 1, name="head")(x))

    def published(self, size):
        return None

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


@ENCODERS.register("tiny")
class Tiny:
    """Five features, made of the kinds of layers that published encoders halve a picture with."""

    multiple = 32
    taps = ("half", "quarter", "eighth", "sixteenth", "bottom")

    def backbone(self, bands):
        inputs = keras.Input((None, None, bands))
        x = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu", name="half")(inputs)
        x = layers.Conv2D(4, 3, strides=2, padding="same", name="quarter_conv")(x)
        x = layers.BatchNormalization(name="quarter_norm")(x)
        x = layers.ReLU(name="quarter")(x)
        x = layers.Conv2D(6, 3, strides=2, padding="same", activation="relu", name="eighth")(x)
        x = layers.Conv2D(6, 3, strides=2, padding="same", activation="relu", name="sixteenth")(x)
        x = layers.ZeroPadding2D(((0, 1), (0, 1)), name="pad")(x)
        x = layers.DepthwiseConv2D(3, strides=2, name="depthwise")(x)
        x = layers.BatchNormalization(name="norm")(x)
        x = layers.Conv2D(8, 3, padding="same", activation="relu", name="bottom")(x)
        return keras.Model(inputs, x)

    def published(self, size):
        return None

"""Writes keras_2_model.h5: a small network built like the forest notebook's, as Keras 2 saves it.

    pip install tf_keras && python tests/support/keras_2_model.py

It has what Keras 3 reads differently: an encoder of several outputs and blocks that are networks within the network,
depthwise and transposed convolutions, an optimizer, and a loss of the notebook's own. The data sets `example` and
`expected` hold an input and what Keras 2 made of it.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import tensorflow as tf
import tf_keras as keras
from tf_keras import layers


def partial_crossentropy(truth, predicted):
    return tf.reduce_mean(keras.losses.binary_crossentropy(truth, predicted))


def encoder():
    inputs = layers.Input([16, 16, 3])
    first = layers.ReLU(6.0)(layers.BatchNormalization()(layers.Conv2D(4, 3, strides=2, padding="same")(inputs)))
    second = layers.DepthwiseConv2D(3, strides=2, padding="valid", use_bias=False)(
        layers.ZeroPadding2D(((0, 1), (0, 1)))(first)
    )
    network = keras.Model(inputs, [first, second])
    network.trainable = False
    return network


def upsample(filters):
    block = keras.Sequential()
    block.add(layers.Conv2DTranspose(filters, 3, strides=2, padding="same", use_bias=False))
    block.add(layers.BatchNormalization())
    block.add(layers.ReLU())
    return block


def main():
    keras.utils.set_random_seed(1)
    inputs = layers.Input([16, 16, 3])
    skip, bottom = encoder()(inputs)
    x = layers.Concatenate()([upsample(4)(bottom), skip])
    x = layers.Conv2DTranspose(4, 3, strides=2, padding="same")(x)
    head = keras.Sequential([layers.Conv2D(1, 1, activation="sigmoid")])
    model = keras.Model(inputs, head(x))
    model.compile(keras.optimizers.Adam(1e-2), loss=partial_crossentropy, metrics=["accuracy"])
    example = np.random.default_rng(2).random((2, 16, 16, 3), np.float32)
    # A few steps, so that no weight is left at a value that any network starts from.
    model.fit(example, (example[..., :1] > 0.5).astype(np.float32), epochs=3, verbose=0)
    path = Path(__file__).with_suffix(".h5")
    model.save(path)
    with h5py.File(path, "a") as file:
        file["example"] = example
        file["expected"] = model.predict(example, verbose=0)


if __name__ == "__main__":
    main()

"""Freezing an encoder, a part of it, or nothing: what a step of training changes."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import tests.support.encoders  # noqa: F401 registers an encoder
from segbatch.errors import InputError
from segbatch.models.build import build
from segbatch.models.trainable import set_trainable
from segbatch.spec.network import Model

pytestmark = pytest.mark.tensorflow

SETTINGS = {"encoder": "tiny", "decoder": "unet", "filters": 4, "input": (32, 32)}
BEFORE = {"half", "quarter_conv", "quarter_norm"}
AFTER = {"eighth", "sixteenth", "depthwise", "norm", "bottom"}


@pytest.fixture
def model():
    return build(Model(**SETTINGS), bands=3, channels=2, seed=0)


def step(model):
    """Train once, compiled anew; the names of the encoder's layers whose weights or statistics have changed."""
    optimizer = keras.optimizers.SGD(0.1)
    x = np.random.default_rng(5).random((2, 32, 32, 3), np.float32)

    @tf.function
    def learn():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(x, training=True) - 1) ** 2)
        variables = model.trainable_variables
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        assert all(gradient is not None for gradient in gradients)
        optimizer.apply(gradients, variables)

    optimizer.build(model.trainable_variables)
    encoder = model.get_layer("tiny")
    before = {layer.name: layer.get_weights() for layer in encoder.layers}
    learn()
    return {
        layer.name
        for layer in encoder.layers
        if not all(np.array_equal(a, b) for a, b in zip(before[layer.name], layer.get_weights(), strict=True))
    }


def test_what_a_step_changes(model):
    assert step(model) == BEFORE | AFTER
    set_trainable(model, True, None)
    assert step(model) == set()
    set_trainable(model, False, "eighth")
    assert step(model) == AFTER
    set_trainable(model, False, None)
    assert step(model) == BEFORE | AFTER


def test_frozen_batch_normalisation_uses_its_stored_statistics(model):
    set_trainable(model, False, "eighth")
    encoder = model.get_layer("tiny")
    x = np.random.default_rng(5).random((2, 32, 32, 3), np.float32)
    learning, predicting = encoder(x, training=True), encoder(x, training=False)
    assert np.array_equal(learning[1], predicting[1]), "the frozen one, at a quarter"
    assert not np.array_equal(learning[4], predicting[4]), "the one that learns, at the bottom"


def test_keys_of_a_job():
    def learns(**keys):
        encoder = build(Model(**SETTINGS, **keys), bands=3, channels=2, seed=0).get_layer("tiny")
        return {layer.name for layer in encoder.layers if layer.trainable_variables}

    assert learns() == BEFORE | AFTER
    assert learns(freeze=True) == set()
    assert learns(fine_tune_from="eighth") == AFTER


def test_layers_that_are_not_there(model):
    with pytest.raises(
        InputError, match=r"fine_tune_from: encoder 'tiny' has no layer 'eigth'\. Did you mean 'eighth'"
    ):
        set_trainable(model, False, "eigth")
    unet = build(Model(filters=4, depth=1, input=(8, 8)), bands=3, channels=2, seed=0)
    set_trainable(unet, False, None)
    with pytest.raises(InputError, match=r"model\.freeze: network 'unet' has no encoder"):
        set_trainable(unet, True, None)

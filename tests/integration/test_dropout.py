"""Dropout: the same as Keras' own at one rate, and a rate that compiled graphs follow."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from segbatch.errors import InputError
from segbatch.models.build import build
from segbatch.models.dropout import Dropout, portable, set_dropout
from segbatch.spec.network import Model

pytestmark = pytest.mark.tensorflow

SETTINGS = Model(filters=4, depth=2, input=(16, 16), dropout=0.3)


def compiled(layer):
    return tf.function(lambda x: layer(x, training=True), reduce_retracing=True)


def share(function, x):
    """Share of ones that came out as zeros."""
    return float(np.mean(np.array(function(x)) == 0))


@pytest.fixture
def ones():
    return tf.ones((64, 500))


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
def test_drops_what_keras_drops(rate, policy):
    x = np.random.default_rng(1).random((8, 9, 10), np.float32)
    ours, theirs = Dropout(rate, seed=5, dtype=policy), keras.layers.Dropout(rate, seed=5, dtype=policy)
    for _ in range(3):
        assert np.array_equal(compiled(ours)(x), compiled(theirs)(x))
    assert np.array_equal(ours(x, training=False), theirs(x, training=False))


def test_a_compiled_graph_follows_the_rate_as_it_does_not_follow_that_of_keras(ones):
    theirs = keras.layers.Dropout(0.5, seed=5)
    function = compiled(theirs)
    function(ones)
    theirs.rate = 0.1
    assert share(function, ones) == pytest.approx(0.5, abs=0.01), "Keras' layer goes on with the rate it began with"

    ours = keras.Sequential([keras.Input((500,)), Dropout(0.5, seed=5)])
    function = compiled(ours)
    assert share(function, ones) == pytest.approx(0.5, abs=0.01)
    for rate in (0.1, 0.0, 0.75):
        set_dropout(ours, rate)
        out = np.array(function(ones))
        assert np.mean(out == 0) == pytest.approx(rate, abs=0.01)
        assert out.max() == pytest.approx(1 / (1 - rate), rel=1e-6)
    assert function.experimental_get_tracing_count() == 1


def test_rate_is_saved_and_checkpointed(tmp_path, ones):
    model = keras.Sequential([keras.Input((500,)), Dropout(0.3, seed=5, name="drop")])
    set_dropout(model, 0.6)
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    assert loaded.get_layer("drop").get_config()["rate"] == 0.6
    assert np.array_equal(model(ones, training=True), loaded(ones, training=True))

    fresh = keras.Sequential([keras.Input((500,)), Dropout(0.3, seed=9)])
    for variable, value in zip(fresh.variables, model.variables, strict=True):
        variable.assign(value)
    assert np.array_equal(model(ones, training=True), fresh(ones, training=True))


def test_rates_that_cannot_be_set():
    model = build(SETTINGS, bands=3, channels=2, seed=0)
    for rate in (-0.1, 1.0):
        with pytest.raises(ValueError, match="from 0 to below 1"):
            set_dropout(model, rate)
    plain = build(Model(filters=4, depth=2, input=(16, 16)), bands=3, channels=2, seed=0)
    with pytest.raises(InputError, match=r"model\.dropout: network 'unet' was built without dropout"):
        set_dropout(plain, 0.3)


def test_gradients_stop_where_values_are_dropped():
    layer = Dropout(0.4, seed=3)
    x = tf.Variable(tf.ones((20, 20)))
    with tf.GradientTape() as tape:
        y = layer(x, training=True)
    gradient = np.array(tape.gradient(y, x))
    assert np.array_equal(gradient, np.array(y)), "of ones, a gradient of 0 or 1/(1 - rate) wherever the value is that"


def test_portable_network_is_of_keras_layers_alone_and_gives_the_same():
    model = build(SETTINGS, bands=3, channels=2, seed=0)
    set_dropout(model, 0.45)
    copy = portable(model)
    drops = [layer for layer in copy.layers if isinstance(layer, keras.layers.Dropout)]
    assert [(type(layer), layer.rate) for layer in drops] == [(keras.layers.Dropout, 0.45)] * 4
    x = np.random.default_rng(1).random((2, 16, 16, 3), np.float32)
    assert np.array_equal(model(x), copy(x))
    without = build(Model(filters=4, depth=2, input=(16, 16)), bands=3, channels=2, seed=0)
    assert portable(without) is without

"""Our upsample block against the one it follows, wherever tensorflow_examples can be imported."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from segbatch.models.pix2pix import upsample

pytestmark = pytest.mark.tensorflow

NAMES = ("name", "seed", "module", "registered_name")
"""The original takes TensorFlow's normal initializer, of another module but with the same settings."""


def without_names(config):
    """A layer's configuration without what differs from one instance to the next."""
    if isinstance(config, dict):
        return {key: without_names(value) for key, value in config.items() if key not in NAMES}
    return config


@pytest.fixture(scope="module")
def original():
    pytest.importorskip("tensorflow_examples", reason="tensorflow_examples is on no package index")
    from tensorflow_examples.models.pix2pix import pix2pix

    return pix2pix.upsample


@pytest.fixture(params=[(8, 3, False), (5, 4, True)], ids=["plain", "dropout"])
def pair(request, original):
    filters, size, dropout = request.param
    blocks = upsample(filters, size, apply_dropout=dropout), original(filters, size, apply_dropout=dropout)
    for block in blocks:
        block.build((None, 6, 4, 7))
    return blocks


def test_same_layers_and_configuration(pair):
    ours, theirs = pair
    assert [type(layer) for layer in ours.layers] == [type(layer) for layer in theirs.layers]
    for mine, other in zip(ours.layers, theirs.layers, strict=True):
        assert without_names(mine.get_config()) == without_names(other.get_config())


@pytest.mark.parametrize("training", [False, True])
def test_same_output_with_the_same_weights(pair, training):
    ours, theirs = pair
    draw = np.random.default_rng(3)
    weights = [draw.uniform(0.5, 1.5, weight.shape).astype(np.float32) for weight in ours.get_weights()]
    for block in pair:
        block.set_weights(weights)
        for layer in block.layers:
            if isinstance(layer, keras.layers.Dropout):
                layer.seed_generator.state.assign([1, 0])
    x = draw.random((2, 6, 4, 7), np.float32)
    expected = keras.ops.convert_to_numpy(theirs(x, training=training))
    assert expected.shape == (2, 12, 8, ours.layers[0].filters)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(ours(x, training=training)), expected)

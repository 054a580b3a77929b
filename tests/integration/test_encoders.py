"""Published encoders: their size, their features, and that their weights meet the pixels they were trained on."""

from __future__ import annotations

import warnings
from importlib import import_module

import keras
import numpy as np
import pytest

from segbatch.models.features import features_of
from segbatch.models.registry import ENCODERS
from segbatch.models.scaling import caffe
from segbatch.models.weights import ensure_weights, load_weights
from segbatch.spec import network
from segbatch.spec.network import Model
from segbatch.spec.registered import registered
from tests.support.published import write_published

pytestmark = [pytest.mark.tensorflow, pytest.mark.filterwarnings("ignore:`input_shape` is undefined or non-square")]

PUBLISHED = {
    "mobilenet_v2": ("MobileNetV2", "mobilenet_v2", 2_257_984),
    "vgg16": ("VGG16", "vgg16", 14_714_688),
    "resnet50": ("ResNet50", "resnet", 23_587_712),
    "efficientnet_b0": ("EfficientNetB0", "efficientnet", 4_049_571),
}
"""Encoder: Keras' function, its file, and its number of weights without the classifier, as Keras' pages give it."""
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet, as EfficientNet's published files hold them."""


def image(height, width, bands=3):
    return np.random.default_rng(5).random((2, height, width, bands), np.float32)


def lively(model):
    """Give statistics and biases values that show when something is left out or taken twice."""
    draw = np.random.default_rng(7)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.set_weights([np.float32(MEAN), np.float32(DEVIATION), np.int64(0)])
        elif isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([draw.uniform(0.5, 1.5, weight.shape) for weight in layer.get_weights()])


@pytest.mark.parametrize("name", PUBLISHED)
def test_encoder_with_published_weights_is_the_published_network(name, tmp_path, monkeypatch):
    function, file, count = PUBLISHED[name]
    module = import_module(f"keras.src.applications.{file}")
    make = getattr(module, function)
    keras.utils.set_random_seed(11)
    trained = make(input_shape=(64, 32, 3), include_top=False, weights=None)
    lively(trained)
    assert trained.count_params() == count

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    settings = Model(encoder=name, weights="imagenet", input=(64, 32))
    published = ENCODERS.get(name)().published(settings.input)
    (tmp_path / "models").mkdir()
    path = tmp_path / "models" / published.name
    write_published(path, trained)

    def get_file(name, url, cache_subdir, file_hash=None):
        assert (name, url, cache_subdir) == (published.name, published.url, "models")
        return str(path)

    monkeypatch.setattr(module.file_utils, "get_file", get_file)
    theirs = make(input_shape=(64, 32, 3), include_top=False, weights="imagenet")
    ours = ENCODERS.get(name)().backbone(3)
    load_weights(ensure_weights(settings), [ours])
    assert ours.count_params() == count

    pixels = image(64, 32)
    expected = np.array(theirs(module.preprocess_input(pixels * 255)))
    assert expected.std() > 0
    np.testing.assert_allclose(np.array(ours([pixels])), expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("name", PUBLISHED)
def test_features_halve_from_one_to_the_next(name):
    inputs = keras.Input((64, 32, 5))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        features = features_of(Model(encoder=name, input=(64, 32)), inputs)
    first = 1 if name == "vgg16" else 2
    assert list(features) == [first * 2**step for step in range(5)]
    for stride, tensor in features.items():
        assert tensor.shape[1:3] == (64 // stride, 32 // stride)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_caffe_scaling(policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        inputs = keras.Input((4, 6, 3))
        ours = keras.Model(inputs, caffe(inputs))
    finally:
        keras.config.set_dtype_policy(before)
    pixels = image(4, 6)
    expected = keras.applications.vgg16.preprocess_input(pixels * 255)
    np.testing.assert_allclose(np.array(ours(pixels)), expected, atol=1e-4)


def test_every_name_that_a_job_may_say_is_there():
    for kind, known in registered().items():
        for name in known:
            registry = getattr(import_module("segbatch.models.registry"), f"{kind.upper()}S")
            assert name in registry.names(), name
    assert {f"efficientnet_b{number}" for number in range(8)} < set(network.ENCODERS)
    for name in network.EFFICIENTNETS:
        variant = name[-2:]
        assert ENCODERS.get(name)().published((64, 64)).name == f"efficientnet{variant}_notop.h5"
        assert hasattr(keras.applications, f"EfficientNet{variant.upper()}")


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet50", "efficientnet_b0"])
def test_statistics_of_an_untrained_encoder_have_forgotten_their_beginning_after_fifty_steps(name):
    inputs = keras.Input((32, 32, 3))
    features = features_of(Model(encoder=name, input=(32, 32), weights=None), inputs)
    network = keras.Model(inputs, list(features.values()))
    norms = [layer for layer in network._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
    assert len(norms) > 10
    assert max(layer.momentum**50 for layer in norms) < 0.01

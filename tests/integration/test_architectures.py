"""Architectures on inputs of any size and bands: shapes, margins, gradients, precision, and files that hold them."""

from __future__ import annotations

import itertools
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import tests.support.encoders  # noqa: F401 registers encoders
from segbatch.errors import InputError
from segbatch.models.blocks import normalized
from segbatch.models.build import build
from segbatch.models.bundle import load_bundle, resized_model, save_bundle
from segbatch.models.features import features_of
from segbatch.models.padding import margin, padded
from segbatch.models.segnet import pool_with_places, unpool
from segbatch.spec.builtin import builtin_document
from segbatch.spec.bundle import BundleInfo
from segbatch.spec.labels import Labels
from segbatch.spec.network import Model

pytestmark = pytest.mark.tensorflow

NETWORKS = {
    "unet": {"filters": 4, "depth": 2, "dropout": 0.3},
    "unet, resized": {"filters": 4, "depth": 2, "norm": "group", "upsampling": "nearest"},
    "segnet": {"architecture": "segnet", "filters": 4, "depth": 3, "dropout": 0.3},
    "pix2pix": {"encoder": "tiny"},
    "unet on an encoder": {"encoder": "tiny", "decoder": "unet", "filters": 4, "upsampling": "bilinear"},
    "deeplab": {"architecture": "deeplab_v3_plus", "encoder": "tiny", "filters": 4, "dropout": 0.3},
    "fpn": {"architecture": "fpn", "encoder": "tiny", "filters": 4, "dropout": 0.3},
}
SIZES = [(64, 64), (50, 37), (33, 64), (5, 3)]
BANDS = (1, 3, 4, 5)


def image(height, width, bands=3, count=2):
    return np.random.default_rng(5).random((count, height, width, bands), np.float32)


@pytest.mark.parametrize("name", NETWORKS)
def test_any_size_and_bands(name):
    for (height, width), bands in zip(SIZES, BANDS, strict=True):
        model = build(Model(**NETWORKS[name], input=(height, width)), bands=bands, channels=7, seed=0)
        assert model.input_shape == (None, height, width, bands)
        assert model(image(height, width, bands)).shape == (2, height, width, 7)


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_reach_every_variable_and_logits_are_float32(name):
    for policy in ("mixed_float16", "mixed_bfloat16"):
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(policy)
        try:
            model = build(Model(**NETWORKS[name], input=(50, 37)), bands=3, channels=2, seed=0)
        finally:
            keras.config.set_dtype_policy(before)
        with tf.GradientTape() as tape:
            logits = model(image(50, 37), training=True)
            loss = tf.reduce_mean(logits**2)
        assert logits.dtype == tf.float32
        assert {variable.dtype for variable in model.trainable_variables} == {"float32"}
        assert any(layer.compute_dtype == policy.removeprefix("mixed_") for layer in model.layers)
        gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
        for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
            assert gradient is not None, variable.path


@pytest.mark.parametrize(
    ("encoder", "keys"),
    [
        ("vgg16", {"decoder": "unet", "filters": 4}),
        ("resnet50", {"architecture": "fpn", "filters": 4}),
        ("efficientnet_b0", {"architecture": "deeplab_v3_plus", "filters": 4}),
        ("mobilenet_v2", {"architecture": "deeplab_v3_plus", "filters": 4}),
    ],
)
def test_published_encoders_learn_in_every_architecture(encoder, keys, tmp_path):
    model = build(Model(encoder=encoder, **keys, input=(40, 32)), bands=3, channels=2, seed=0)
    x = image(40, 32)
    with tf.GradientTape() as tape:
        logits = model(x, training=True)
        loss = tf.reduce_mean(logits**2)
    gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
    assert logits.shape == (2, 40, 32, 2)
    assert all(gradient is not None for gradient in gradients)
    assert len({variable.path for variable in model.variables}) == len(model.variables)
    model.save(tmp_path / "m.keras")
    assert np.array_equal(model(x), keras.models.load_model(tmp_path / "m.keras")(x))


# Margins


@pytest.mark.parametrize(
    ("size", "multiple", "expected"),
    [
        ((50, 37), 16, ((7, 7), (5, 6))),
        ((32, 64), 32, ((0, 0), (0, 0))),
        ((1, 31), 8, ((3, 4), (0, 1))),
    ],
)
def test_margin(size, multiple, expected):
    assert margin(*size, multiple) == expected


def test_what_comes_back_lies_where_it_was():
    seen = []

    def same(pixels):
        seen.append(pixels.shape)
        return pixels

    inputs = keras.Input((5, 7, 2))
    model = keras.Model(inputs, padded(inputs, 8, same))
    assert seen == [(None, 8, 8, 2)]
    x = image(5, 7, 2)
    assert np.array_equal(model(x), x)
    inputs = keras.Input((8, 16, 2))
    assert padded(inputs, 8, same) is inputs, "nothing is added where nothing is needed"


def test_the_margin_is_black():
    settings = {"filters": 4, "depth": 2}
    small = build(Model(**settings, input=(13, 16)), bands=3, channels=2, seed=0)
    large = build(Model(**settings, input=(16, 16)), bands=3, channels=2, seed=0)
    x = image(13, 16)
    wide = np.pad(x, ((0, 0), (1, 2), (0, 0), (0, 0)))
    np.testing.assert_allclose(np.array(small(x)), np.array(large(wide))[:, 1:-2], atol=1e-6)


@pytest.mark.parametrize("size", [(50, 37), (64, 32), (31, 100)])
@pytest.mark.parametrize("name", ["unet", "segnet", "deeplab", "fpn"])
def test_another_size_gets_its_own_margin(name, size):
    model = build(Model(**NETWORKS[name], input=(33, 47)), bands=3, channels=2, seed=0)
    resized = resized_model(model, *size)
    built = build(Model(**NETWORKS[name], input=size), bands=3, channels=2, seed=0)
    x = image(*size)
    np.testing.assert_allclose(np.array(resized(x)), np.array(built(x)), atol=1e-6)


# Normalisation


@pytest.mark.parametrize(("kind", "channels", "groups"), [("group", 6, 2), ("group", 64, 32), ("layer", 6, 1)])
def test_normalisation_of_groups_of_channels(kind, channels, groups):
    inputs = keras.Input((4, 5, channels))
    x = 3 + 2 * image(4, 5, channels)
    out = np.array(keras.Model(inputs, normalized(inputs, kind, "norm"))(x)).reshape(2, 20, groups, -1)
    parts = x.reshape(2, 20, groups, -1).astype(np.float64)
    mean, variance = parts.mean((1, 3), keepdims=True), parts.var((1, 3), keepdims=True)
    np.testing.assert_allclose(out, (parts - mean) / np.sqrt(variance + 1e-3), atol=1e-4)


@pytest.mark.parametrize(("norm", "alone"), [("batch", False), ("group", True), ("layer", True), ("none", True)])
def test_whether_a_picture_depends_on_its_batch(norm, alone):
    model = build(Model(filters=4, depth=1, norm=norm, input=(8, 8)), bands=3, channels=2, seed=0)
    x = image(8, 8)
    together, apart = np.array(model(x, training=True))[:1], np.array(model(x[:1], training=True))
    assert np.allclose(together, apart, atol=1e-5) == alone


# SegNet


def test_pooling_keeps_the_places_of_the_maxima():
    # Few different values, so that many squares have several maxima.
    x = np.random.default_rng(3).integers(0, 3, (2, 6, 8, 3)).astype(np.float32)
    inputs, small = keras.Input((6, 8, 3)), keras.Input((3, 4, 3))
    largest, places = pool_with_places(inputs, "pool")
    network = keras.Model([inputs, small], [largest, places, unpool(small, places, "unpool")])
    y = image(3, 4)
    found = [np.array(tensor) for tensor in network([x, y])]

    expected = np.zeros((3, 2, 6, 8, 3), np.float32)
    for picture, row, column, channel in np.ndindex(2, 3, 4, 3):
        square = x[picture, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2, channel]
        down, across = np.unravel_index(np.argmax(square), (2, 2))
        place = picture, 2 * row + down, 2 * column + across, channel
        expected[0][picture, row, column, channel] = square.max()
        expected[1][place] = 1
        expected[2][place] = y[picture, row, column, channel]
    np.testing.assert_array_equal(found[0], expected[0][:, :3, :4])
    np.testing.assert_array_equal(found[1], expected[1])
    np.testing.assert_array_equal(found[2], expected[2])


def test_segnet_is_as_large_as_published():
    """VGG16's 13 convolutions, 14.7 million weights as the paper's introduction says, and the same way back."""
    model = build(Model(architecture="segnet", input=(32, 32)), bands=3, channels=12, seed=0)
    kernels = [tuple(v.shape) for v in model.trainable_variables if v.name == "kernel"]
    vgg16 = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    back = [*vgg16[:0:-1], 12]
    pairs = [*itertools.pairwise(vgg16), *itertools.pairwise(back)]
    assert kernels == [(3, 3, before, after) for before, after in pairs]
    assert sum(np.prod(shape) for shape in kernels[:13]) == pytest.approx(14.7e6, rel=0.005)


# DeepLab


def test_the_last_stage_at_a_sixteenth_sees_what_it_saw_at_a_32nd():
    def run(deepest, stride):
        keras.utils.set_random_seed(3)
        inputs = keras.Input((96, 64, 3))
        features = features_of(Model(encoder="tiny", input=(96, 64)), inputs, strides=(4, stride), deepest=deepest)
        return [np.array(tensor) for tensor in keras.Model(inputs, list(features.values()))(image(96, 64))]

    fine, coarse = run(None, 32)
    same, dense = run(16, 16)
    assert np.array_equal(fine, same)
    assert dense.shape == (2, 6, 4, 8)
    np.testing.assert_allclose(dense[:, 1::2, 1::2], coarse, atol=1e-6)


@pytest.mark.parametrize("architecture", ["deeplab_v3_plus", "fpn"])
def test_architecture_on_an_encoder_needs_fitting_features(architecture):
    with pytest.raises(InputError, match=rf"architecture '{architecture}' needs an encoder"):
        build(Model.model_construct(architecture=architecture), bands=3, channels=2, seed=0)
    if architecture == "deeplab_v3_plus":
        message = r"needs features at 1/4, 1/16 of the input's sides; encoder 'small' has them at 1/2, 1/4"
        with pytest.raises(InputError, match=message):
            build(Model(architecture=architecture, encoder="small"), bands=3, channels=2, seed=0)


# Files


@pytest.fixture(scope="module")
def labels():
    value = builtin_document("buildings").value
    return Labels.model_validate({"name": "buildings"} | value)


def test_bundles_load_where_segbatch_does_not(tmp_path, labels):
    size, x = (50, 37), image(50, 37)
    expected = {}
    for name, keys in NETWORKS.items():
        model = build(Model(**keys, input=size), bands=3, channels=2, seed=0)
        info = BundleInfo(name="n", labels=labels, head="multiclass", input=size)
        folder = tmp_path / name.replace(" ", "_").replace(",", "")
        save_bundle(folder, model, info)
        expected[folder.name] = np.array(model(x))
        assert np.array_equal(load_bundle(folder).model(x), expected[folder.name]), name
    np.savez(tmp_path / "expected.npz", x=x, **expected)
    script = (
        "import keras, numpy as np, sys\n"
        "data = np.load('expected.npz')\n"
        "for name in sorted(set(data) - {'x'}):\n"
        "    model = keras.models.load_model(f'{name}/model.keras', compile=False)\n"
        "    print(name, float(np.abs(np.array(model(data['x'])) - data[name]).max()))\n"
        "print('segbatch' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines() == [*(f"{name} 0.0" for name in sorted(expected)), "False"]

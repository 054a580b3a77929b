"""Networks by name: their form, their number of weights, their seeds, and the files that add new ones."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest

import segbatch.models
import tests.support.encoders  # noqa: F401 registers an encoder
from segbatch.errors import InputError
from segbatch.models.build import build
from segbatch.models.mobilenet_v2 import MobileNetV2
from segbatch.models.registry import ARCHITECTURES, DECODERS, ENCODERS, Registry
from segbatch.spec.network import Model

pytestmark = pytest.mark.tensorflow

TINY = {"filters": 4, "depth": 2, "input": (32, 32)}


def image(height=32, width=32, bands=3, count=2):
    return np.random.default_rng(5).random((count, height, width, bands), np.float32)


def states(variables):
    return [keras.ops.convert_to_numpy(variable) for variable in variables]


def equal(first, second):
    return len(first) == len(second) and all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.fixture(scope="module")
def mobilenet():
    keras.utils.set_random_seed(11)
    return MobileNetV2().backbone(3)


# Names


def test_registry_returns_what_was_registered():
    registry = Registry("shape")

    @registry.register("square")
    def square():
        return 4

    assert registry.get("square") is square
    assert registry.names() == ["square"]
    with pytest.raises(ValueError, match="registered already"):
        registry.register("square")(square)


def test_unknown_name_lists_and_guesses():
    registry = Registry("encoder")
    for name in ("vgg16", "resnet50"):
        registry.register(name)(object())
    with pytest.raises(InputError) as caught:
        registry.get("resnet5")
    assert str(caught.value) == (
        "model.encoder: unknown encoder 'resnet5'. Did you mean 'resnet50'? Expected one of: resnet50, vgg16."
    )


def test_builtin_names():
    assert "mobilenet_v2" in ENCODERS.names()
    assert "pix2pix" in DECODERS.names()
    assert {"unet", "encoder_decoder"} <= set(ARCHITECTURES.names())


def test_a_new_architecture_is_one_file(tmp_path, monkeypatch):
    (tmp_path / "one_layer.py").write_text(
        "import keras\n"
        "from segbatch.models.registry import ARCHITECTURES\n"
        "@ARCHITECTURES.register('one_layer')\n"
        "class OneLayer:\n"
        "    def multiple(self, model):\n"
        "        return 1\n"
        "    def connect(self, model, inputs, channels):\n"
        "        return keras.layers.Conv2D(channels, 1)(inputs)\n"
    )
    monkeypatch.setattr(segbatch.models, "__path__", [*segbatch.models.__path__, str(tmp_path)])
    model = build(Model(architecture="one_layer", input=(7, 5)), bands=1, channels=3, seed=0)
    assert model.output_shape == (None, 7, 5, 3)


@pytest.mark.parametrize("key", ["architecture", "encoder", "decoder"])
def test_unknown_name_in_a_job(key):
    settings = {"encoder": "mobilenet_v2"} | {key: "no such name"}
    with pytest.raises(InputError, match=f"unknown {key} 'no such name'"):
        build(Model(**settings, input=(32, 32)), bands=3, channels=2, seed=0)


# U-Net


def unet_weights(filters, depth, bands, channels):
    """Number of weights of a U-Net, counted layer by layer: kernels, biases, and four a channel for batch norms."""

    def level(before, after):
        return 9 * before * after + 9 * after * after + 2 * after + 2 * 4 * after

    sizes = [bands, *(filters * 2**step for step in range(depth + 1))]
    down = sum(level(a, b) for a, b in itertools.pairwise(sizes))
    up = sum(9 * b * a + a + level(2 * a, a) for a, b in itertools.pairwise(sizes[1:]))
    return down + up + filters * channels + channels


def test_classic_unet():
    model = build(Model(dropout=0.3), bands=3, channels=34, seed=0)
    assert model.input_shape == (None, 128, 128, 3)
    assert model.output_shape == (None, 128, 128, 34)
    rates = 8
    assert model.count_params() - rates == unet_weights(64, 4, 3, 34)
    assert model.count_params() / 1e6 == pytest.approx(34.5, abs=0.05)
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds.count("MaxPooling2D") == kinds.count("Conv2DTranspose") == 4
    assert kinds.count("Dropout") == rates
    convolutions = [layer for layer in model.layers if type(layer) is keras.layers.Conv2D]
    widths = [layer.filters for layer in convolutions]
    assert widths == [n for w in (64, 128, 256, 512, 1024, 512, 256, 128, 64) for n in (w, w)] + [34]
    assert all(type(layer.kernel_initializer).__name__ == "HeNormal" for layer in convolutions[:-1])


@pytest.mark.parametrize(("filters", "depth", "bands", "channels"), [(3, 1, 1, 1), (5, 3, 4, 7)])
def test_unet_of_any_width_and_depth(filters, depth, bands, channels):
    model = build(Model(filters=filters, depth=depth, input=(24, 40)), bands=bands, channels=channels, seed=0)
    assert model.count_params() == unet_weights(filters, depth, bands, channels)
    assert model(image(24, 40, bands)).shape == (2, 24, 40, channels)


def test_outputs_are_logits_in_float32():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = build(Model(**TINY), bands=3, channels=2, seed=0)
    finally:
        keras.config.set_dtype_policy(before)
    model.get_layer("logits").bias.assign([-7.0, 9.0])
    logits = np.array(model(image()))
    assert logits.dtype == np.float32
    assert logits[..., 0].max() < 0
    assert logits[..., 1].min() > 1


# Seeds and dropout


def test_seed_decides_the_weights():
    settings = Model(**TINY, dropout=0.5)
    first = states(build(settings, bands=3, channels=2, seed=3).variables)
    np.random.default_rng().random()
    np.random.random(7)
    assert equal(first, states(build(settings, bands=3, channels=2, seed=3).variables))
    assert not equal(first, states(build(settings, bands=3, channels=2, seed=4).variables))


def test_variables_hold_all_that_dropout_needs_to_go_on():
    settings = Model(**TINY, dropout=0.5)
    model, x = build(settings, bands=3, channels=2, seed=3), image()
    model(x, training=True)
    checkpoint = states(model.variables)
    expected = np.array(model(x, training=True))
    assert not np.array_equal(expected, model(x, training=True)), "dropout draws anew each time"

    resumed = build(settings, bands=3, channels=2, seed=99)
    for variable, state in zip(resumed.variables, checkpoint, strict=True):
        variable.assign(state)
    assert np.array_equal(expected, resumed(x, training=True))


def test_variable_paths_are_unique():
    for settings in (Model(**TINY, dropout=0.5), Model(encoder="mobilenet_v2", input=(32, 32))):
        variables = build(settings, bands=3, channels=2, seed=0).variables
        assert len({variable.path for variable in variables}) == len(variables)


# Encoder and decoder


def test_forest_network():
    model = build(Model(encoder="mobilenet_v2", decoder="pix2pix", freeze=True), bands=3, channels=1, seed=0)
    assert model.output_shape == (None, 128, 128, 1)
    assert model.count_params() == 6_592_193
    assert sum(int(np.prod(v.shape)) for v in model.trainable_variables) == 4_748_289
    features = model.get_layer("mobilenet_v2")(keras.Input((128, 128, 3)))
    assert [tuple(x.shape[1:]) for x in features] == [
        (64, 64, 96),
        (32, 32, 144),
        (16, 16, 192),
        (8, 8, 576),
        (4, 4, 320),
    ]
    blocks = [layer for layer in model.layers if isinstance(layer, keras.Sequential)]
    assert [block.output_shape[-1] for block in blocks] == [512, 256, 128, 64]


def test_frozen_encoder_stays_as_it_is_in_training():
    frozen = build(Model(encoder="small", input=(32, 32), freeze=True), bands=3, channels=1, seed=0)
    encoder, x = frozen.get_layer("small"), image()
    decoder = [layer for layer in frozen.layers if layer is not encoder]
    before = states(encoder.variables), [states(layer.variables) for layer in decoder]
    assert all(np.array_equal(a, b) for a, b in zip(encoder(x), encoder(x, training=True), strict=True))
    frozen(x, training=True)
    assert equal(before[0], states(encoder.variables))
    assert not all(equal(old, states(layer.variables)) for old, layer in zip(before[1], decoder, strict=True)), (
        "the decoder's batch norms learn"
    )

    free = build(Model(encoder="small", input=(32, 32)), bands=3, channels=1, seed=0)
    encoder = free.get_layer("small")
    before = states(encoder.variables)
    free(x, training=True)
    assert not equal(before, states(encoder.variables))


def test_encoder_scales_pixels_as_its_published_weights_expect(mobilenet):
    original = keras.applications.MobileNetV2(input_shape=(64, 32, 3), include_top=False, weights=None)
    original.set_weights(mobilenet.get_weights())
    x = image(64, 32)
    scaled = keras.applications.mobilenet_v2.preprocess_input(x * 255)
    np.testing.assert_allclose(mobilenet([x]), original(scaled), atol=1e-4)


def test_encoder_of_other_bands():
    model = build(Model(encoder="mobilenet_v2", input=(32, 64)), bands=4, channels=5, seed=0)
    assert model(image(32, 64, 4)).shape == (2, 32, 64, 5)

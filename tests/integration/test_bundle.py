"""Bundles on disk, Keras files in a bundle's place, and networks at another input size."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from keras import layers

from segbatch.errors import InputError
from segbatch.models import bundle as bundle_module
from segbatch.models import folders
from segbatch.models.build import build
from segbatch.models.bundle import load_bundle, resized_model, save_bundle
from segbatch.runs.bundles import bundle_digest
from segbatch.runs.files import digest, file_digest
from segbatch.spec.bundle import BUNDLE_FILE, MODEL_FILE, BundleInfo, read_info
from segbatch.spec.labels import Labels
from segbatch.spec.network import Model

pytestmark = pytest.mark.tensorflow

KERAS_2 = Path(__file__).parents[1] / "support" / "keras_2_model.h5"


def labels(count=2):
    classes = [
        {"id": n, "name": f"class {n}", "color": (n, 0, 0), "values": f"{n * 9}-{n * 9 + 8}"} for n in range(count)
    ]
    return Labels.model_validate({"name": "test", "classes": classes})


def image(height=16, width=16, bands=3):
    return np.random.default_rng(5).random((2, height, width, bands), np.float32)


def run(model, x):
    return keras.ops.convert_to_numpy(model(x))


@pytest.fixture(scope="module")
def unet():
    return build(Model(filters=2, depth=2, input=(16, 16), dropout=0.2), bands=3, channels=3, seed=1)


@pytest.fixture
def info():
    return BundleInfo(
        name="trees",
        labels=labels(3),
        head="multiclass",
        input=(16, 16),
        resize="area",
        provenance={"run": "r1", "scores": {"iou": 0.5}, "path": os.fsdecode(b"t\xffr\ne")},
    )


def network(last, size=(16, 16), bands=3):
    """A network of one convolution and whatever layers follow."""
    inputs = keras.Input((*size, bands))
    x = inputs
    for layer in last:
        x = layer(x)
    return keras.Model(inputs, x)


# Folders


def test_bundle_comes_back_as_it_was(tmp_path, unet, info):
    save_bundle(tmp_path / "model", unet, info)
    loaded = load_bundle(tmp_path / "model")
    assert loaded.info == info
    assert loaded.path == tmp_path / "model"
    np.testing.assert_array_equal(run(loaded.model, image()), run(unet, image()))
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [BUNDLE_FILE, MODEL_FILE]
    assert os.listdir(tmp_path) == ["model"]


def test_frozen_encoder_comes_back_frozen(tmp_path):
    model = build(Model(encoder="mobilenet_v2", input=(32, 32), freeze=True), bands=3, channels=1, seed=1)
    save_bundle(tmp_path / "m", model, BundleInfo(name="a", labels=labels(), head="binary", input=(32, 32)))
    loaded = load_bundle(tmp_path / "m").model
    assert len(loaded.trainable_variables) == len(model.trainable_variables) < len(model.weights)
    np.testing.assert_array_equal(run(loaded, image(32, 32)), run(model, image(32, 32)))


@pytest.mark.parametrize("name", [b"a b'c,\nd", b"not \xff utf-8 \xe9", "größe".encode()])
def test_bundles_and_keras_files_under_any_name(tmp_path, unet, info, name):
    place = tmp_path / os.fsdecode(name)
    place.mkdir()
    save_bundle(place / "model", unet, info)
    assert load_bundle(place / "model").info == info
    for suffix in (".h5", ".keras"):
        unet.save(tmp_path / f"plain{suffix}")
        path = place / os.fsdecode(name + suffix.encode())
        (tmp_path / f"plain{suffix}").rename(path)
        loaded = load_bundle(path, labels=labels(3))
        np.testing.assert_array_equal(run(loaded.model, image()), run(unet, image()))
        json.dumps(loaded.info.model_dump(mode="json")).encode()


@pytest.mark.parametrize("can_exchange", [True, False])
def test_new_bundle_takes_the_place_of_the_old(tmp_path, monkeypatch, unet, info, can_exchange):
    if not can_exchange:
        monkeypatch.setattr(folders, "_exchange", lambda first, second: False)
    save_bundle(tmp_path / "real", unet, info)
    (tmp_path / "model").symlink_to("real")
    save_bundle(tmp_path / "model", unet, info.model_copy(update={"name": "second"}))
    assert read_info(tmp_path / "model").name == "second"
    assert sorted(os.listdir(tmp_path)) == ["model", "real"]
    assert (tmp_path / "model").is_symlink()


@pytest.mark.parametrize("step", ["write_json", "replace_folder"])
def test_failed_save_leaves_the_old_bundle(tmp_path, monkeypatch, unet, info, step):
    save_bundle(tmp_path / "model", unet, info)

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(bundle_module, step, fail)
    with pytest.raises(OSError, match="disk full"):
        save_bundle(tmp_path / "model", unet, info.model_copy(update={"name": "second"}))
    assert load_bundle(tmp_path / "model").info == info
    assert os.listdir(tmp_path) == ["model"]


def test_old_bundle_comes_back_when_the_new_one_cannot_be_renamed(tmp_path, monkeypatch, unet, info):
    monkeypatch.setattr(folders, "_exchange", lambda first, second: False)
    save_bundle(tmp_path / "model", unet, info)
    with pytest.raises(FileNotFoundError):
        folders._rename_over(tmp_path / "never made", tmp_path / "model")
    assert load_bundle(tmp_path / "model").info == info


def test_bundle_replaced_while_it_is_read(tmp_path, monkeypatch, unet, info):
    save_bundle(tmp_path / "model", unet, info)
    other = build(Model(filters=3, depth=1, input=(16, 16)), bands=3, channels=3, seed=2)
    read, seen = bundle_module.read_model, []

    def read_late(path):
        if not seen:
            save_bundle(tmp_path / "model", other, info.model_copy(update={"name": "second"}))
        seen.append(path)
        return read(path)

    monkeypatch.setattr(bundle_module, "read_model", read_late)
    loaded = load_bundle(tmp_path / "model")
    assert loaded.info.name == "second"
    assert loaded.model.count_params() == other.count_params()


def test_bundle_that_does_not_fit_itself(tmp_path, unet, info):
    with pytest.raises(InputError, match=r"\(None, 16, 16, 4\).* but .* \(None, 16, 16, 3\)"):
        save_bundle(tmp_path / "model", unet, info.model_copy(update={"bands": 4}))
    assert os.listdir(tmp_path) == []
    save_bundle(tmp_path / "model", unet, info)
    changed = info.model_copy(update={"labels": labels(4)}).model_dump(mode="json")
    (tmp_path / "model" / BUNDLE_FILE).write_text(json.dumps(changed))
    with pytest.raises(InputError, match=r"bundle\.json describes a network"):
        load_bundle(tmp_path / "model")


def test_missing_and_torn_bundles(tmp_path, unet, info):
    with pytest.raises(InputError, match="no such bundle folder"):
        load_bundle(tmp_path / "model")
    with pytest.raises(InputError, match="no such file"):
        load_bundle(tmp_path / "model.keras", labels=labels())
    save_bundle(tmp_path / "model", unet, info)
    file = tmp_path / "model" / MODEL_FILE
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(InputError, match="cannot load this file"):
        load_bundle(tmp_path / "model")


# Keras files


def test_forest_notebook_file(tmp_path):
    model = build(Model(encoder="mobilenet_v2", input=(32, 32), freeze=True), bands=3, channels=1, seed=1)
    model = keras.Model(model.inputs[0], layers.Activation("sigmoid")(model.outputs[0]))

    def partial_crossentropy(truth, predicted):
        return keras.ops.mean(keras.losses.binary_crossentropy(truth, predicted))

    model.compile(keras.optimizers.Adam(1e-3), loss=partial_crossentropy, metrics=["accuracy"])
    path = tmp_path / "forest 1.h5"
    model.save(path)
    loaded = load_bundle(path, labels=labels())
    assert loaded.info == BundleInfo(
        name="forest 1", labels=labels(), head="binary", output="probabilities", input=(32, 32), bands=3
    )
    np.testing.assert_array_equal(run(loaded.model, image(32, 32)), run(model, image(32, 32)))


@pytest.mark.filterwarnings("error:The structure of")
def test_file_written_by_keras_2():
    loaded = load_bundle(KERAS_2, labels=labels())
    assert (loaded.info.head, loaded.info.output, loaded.info.input) == ("binary", "probabilities", (16, 16))
    with h5py.File(KERAS_2) as file:
        assert file.attrs["keras_version"].startswith("2.")
        x, expected = file["example"][:], file["expected"][:]
    np.testing.assert_allclose(run(loaded.model, x), expected, atol=1e-6)
    wide = resized_model(loaded.model, 16, 32)
    np.testing.assert_allclose(run(wide, np.tile(x, (1, 1, 2, 1)))[:, 2:-2, 2:12], expected[:, 2:-2, 2:12], atol=1e-6)


@pytest.mark.filterwarnings("error:The structure of")
def test_inputs_and_outputs_in_lists(tmp_path):
    inputs = keras.Input((16, 16, 3))
    model = keras.Model([inputs], [layers.Conv2D(2, 1)(inputs)])
    for name in ("a.keras", "a.h5"):
        model.save(tmp_path / name)
        loaded = load_bundle(tmp_path / name, labels=labels())
        assert run(loaded.model, image()).shape == (2, 16, 16, 2)
        assert run(resized_model(loaded.model, 8, 8), image(8, 8)).shape == (2, 8, 8, 2)


@pytest.mark.parametrize(
    ("last", "output"),
    [
        ([layers.Conv2D(3, 1)], "logits"),
        ([layers.Conv2D(3, 1, activation="softmax")], "probabilities"),
        ([layers.Conv2D(3, 1, activation="sigmoid")], "probabilities"),
        ([layers.Conv2D(1, 1, activation="sigmoid")], "probabilities"),
        ([layers.Conv2D(1, 1)], "logits"),
        ([layers.Conv2D(3, 1), layers.Softmax()], "probabilities"),
        ([layers.Conv2D(3, 1), layers.Activation("softmax")], "probabilities"),
        ([layers.Conv2D(3, 1), keras.ops.softmax], "probabilities"),
        ([layers.Conv2D(1, 1), keras.ops.sigmoid], "probabilities"),
        ([layers.Conv2D(3, 1), layers.Activation("linear")], "logits"),
        ([layers.Conv2D(3, 1, strides=2), layers.UpSampling2D(2)], "logits"),
        ([layers.Conv2D(3, 1, activation="softmax"), layers.Resizing(16, 16), layers.Dropout(0.1)], "probabilities"),
        ([keras.Sequential([layers.Conv2D(4, 1), layers.Conv2D(1, 1, activation="sigmoid")])], "probabilities"),
    ],
)
def test_last_activation_tells_what_a_file_gives(tmp_path, last, output):
    model = network(last)
    model.save(tmp_path / "a.keras")
    count = max(model.output_shape[-1], 2)
    assert load_bundle(tmp_path / "a.keras", labels=labels(count)).info.output == output


@pytest.mark.parametrize(
    "last",
    [
        [layers.Conv2D(3, 1, activation="relu")],
        [layers.Conv2D(3, 1, activation="tanh")],
        [layers.Conv2D(3, 1), layers.BatchNormalization()],
        [layers.Conv2D(3, 1), layers.ReLU()],
    ],
)
def test_unclear_output_is_asked_for(tmp_path, last):
    network(last).save(tmp_path / "a.keras")
    with pytest.raises(InputError, match=r"Set `model.output` to `logits` or `probabilities`"):
        load_bundle(tmp_path / "a.keras", labels=labels(3))
    assert load_bundle(tmp_path / "a.keras", labels=labels(3), output="logits").info.output == "logits"


def test_sequential_file(tmp_path):
    model = keras.Sequential([keras.Input((16, 24, 1)), layers.Conv2D(2, 3, padding="same", activation="softmax")])
    for name in ("a.keras", "a.h5"):
        model.save(tmp_path / name)
        loaded = load_bundle(tmp_path / name, labels=labels())
        assert (loaded.info.head, loaded.info.input, loaded.info.bands) == ("multiclass", (16, 24), 1)
        x = image(8, 20, 1)
        np.testing.assert_array_equal(run(resized_model(loaded.model, 8, 20), x), run(resized_model(model, 8, 20), x))


@pytest.mark.parametrize(
    ("model", "count", "message"),
    [
        (lambda: network([layers.Conv2D(4, 1)]), 3, "gives 4 channels, one a class, but labels 'test' have 3 classes"),
        (lambda: network([layers.Conv2D(1, 1)]), 3, "gives one channel, for two classes, but labels 'test' have 3"),
        (
            lambda: network([layers.Conv2D(2, 1)], size=(None, None)),
            2,
            r"input of fixed size .*\(None, None, None, 3\)",
        ),
        (lambda: network([layers.Conv2D(2, 1)], bands=33), 2, "1 to 32 bands, received 33"),
        (lambda: network([layers.Conv2D(2, 1, strides=2)]), 2, r"one output of the input's .*\(None, 8, 8, 2\)"),
        (lambda: network([layers.Flatten(), layers.Dense(2)]), 2, r"one output of the input's .*\(None, 2\)"),
        (lambda: network([layers.Conv2D(1, 1, activation="softmax")]), 2, "softmax, which makes it 1 everywhere"),
        (lambda: network([layers.Lambda(lambda x: x * 2), layers.Conv2D(2, 1)]), 2, "cannot load this file.*Lambda"),
    ],
)
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_files_that_are_refused(tmp_path, model, count, message, suffix):
    path = tmp_path / f"a{suffix}"
    model().save(path)
    with pytest.raises(InputError, match=message) as caught:
        load_bundle(path, labels=labels(count))
    assert str(path) in str(caught.value)


def test_files_that_are_no_models(tmp_path, unet):
    unet.save_weights(tmp_path / "only.weights.h5")
    (tmp_path / "text.h5").write_text("not a model")
    (tmp_path / "text.keras").write_text("not a model")
    for name in ("only.weights.h5", "text.h5", "text.keras"):
        with pytest.raises(InputError, match="cannot load this file"):
            load_bundle(tmp_path / name, labels=labels(3))
    (tmp_path / "model.pt").write_text("not a model")
    with pytest.raises(InputError, match=r"ending in \.keras, \.h5"):
        load_bundle(tmp_path / "model.pt", labels=labels(3))
    unet.save(tmp_path / "a.keras")
    with pytest.raises(InputError, match="does not say its classes"):
        load_bundle(tmp_path / "a.keras")


# Other input sizes


def test_resized_model_has_the_same_weights(unet):
    wide = resized_model(unet, 8, 20)
    assert (wide.input_shape, wide.output_shape) == ((None, 8, 20, 3), (None, 8, 20, 3))
    assert all(np.array_equal(a, b) for a, b in zip(unet.get_weights(), wide.get_weights(), strict=True))
    back = resized_model(wide, 16, 16)
    np.testing.assert_array_equal(run(back, image()), run(unet, image()))
    assert resized_model(unet, 16, 16) is unet


def test_resized_encoder_and_decoder():
    model = build(Model(encoder="mobilenet_v2", input=(32, 32)), bands=3, channels=2, seed=1)
    wide = resized_model(model, 64, 32)
    assert wide.output_shape == (None, 64, 32, 2)
    back = resized_model(wide, 32, 32)
    np.testing.assert_array_equal(run(back, image(32, 32)), run(model, image(32, 32)))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            lambda: build(Model(filters=2, depth=2, input=(16, 16)), bands=3, channels=2, seed=1),
            "multiples of 4 may do",
        ),
        (lambda: network([layers.Flatten(), layers.Dense(512), layers.Reshape((16, 16, 2))]), "cannot work at 18x15"),
        (lambda: network([layers.Resizing(16, 16), layers.Conv2D(2, 1)]), "Its output would be 16x16"),
    ],
)
def test_size_that_a_network_cannot_take(model, message):
    with pytest.raises(InputError, match="built for 16x16 pixels, cannot work at 18x15") as caught:
        resized_model(model(), 18, 15)
    assert message in str(caught.value)


# Digests


def test_digest_of_a_folder_is_that_of_its_two_files(tmp_path):
    for name, content in ((MODEL_FILE, b"weights"), (BUNDLE_FILE, b"{}"), ("notes.txt", b"hello")):
        (tmp_path / name).write_bytes(content)
    expected = digest(
        f"bundle.json {digest(b'{}')}\n".encode(),
        f"model.keras {digest(b'weights')}\n".encode(),
    )
    assert bundle_digest(tmp_path) == expected
    (tmp_path / "notes.txt").unlink()
    assert bundle_digest(tmp_path) == expected
    (tmp_path / MODEL_FILE).write_bytes(b"Weights")
    assert bundle_digest(tmp_path) != expected


def test_digest_of_a_file_and_of_nothing(tmp_path):
    (tmp_path / "a.h5").write_bytes(b"weights")
    assert bundle_digest(tmp_path / "a.h5") == file_digest(tmp_path / "a.h5")
    with pytest.raises(InputError, match=r"bundle\.json is missing"):
        bundle_digest(tmp_path / "none")
    (tmp_path / BUNDLE_FILE).touch()
    with pytest.raises(InputError, match=r"model\.keras is missing"):
        bundle_digest(tmp_path)


def test_digest_needs_no_tensorflow():
    code = "import sys, segbatch.runs.bundles; print({'tensorflow', 'keras', 'numpy'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "set()\n"

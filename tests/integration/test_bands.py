"""Images of six bands of 16 bits: decoded as written, trained on, predicted, and shown."""

from __future__ import annotations

import json
import os
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from PIL import Image

from segbatch.cli import cli
from segbatch.data.decode import ImageFormat, decode_image, decode_mask
from segbatch.models.keras_file import derive_info
from segbatch.spec.bundle import read_info
from segbatch.spec.labels import Labels
from segbatch.training.panels import visible
from tests.support.labels import TWO_CLASSES
from tests.support.tiffs import BANDS, make_band_tiles, write_tiff
from tests.support.tiny_training import make_job
from tests.support.tiny_training import run as train
from tests.support.worlds import complete, make_run, write_job

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.usefixtures("rasterio", "determinism_ends_here"),
]
SIX = ImageFormat(BANDS, 16)
TRAIN, VAL = 8, 4


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Tiles, and a network trained on all but the last four of them."""
    folder = tmp_path_factory.mktemp("bands")
    pairs = [tuple(map(os.fsencode, pair)) for pair in make_band_tiles(folder, TRAIN + VAL)]
    job = make_job(
        labels=TWO_CLASSES.model_dump(mode="json"),
        data={"bands": BANDS, "depth": 16},
        model={"normalize": "standardize", "norm": "group", "dropout": 0.0},
        augment=["flip_left_right", {"op": "brightness", "amount": 0.05}, {"op": "contrast"}, {"op": "noise"}],
        train={"epochs": 3, "previews": 2},
        optimizer={"learning_rate": 0.02},
    )
    train(job, pairs, folder / "run", train=TRAIN)
    return folder


def decoded(path: Path, fmt: ImageFormat = SIX) -> np.ndarray:
    return tf.function(lambda content: decode_image(content, fmt))(tf.constant(path.read_bytes())).numpy()


@pytest.mark.parametrize(("bands", "kind"), [(2, "uint8"), (3, "uint8"), (6, "uint16"), (13, "uint16")])
def test_the_graph_reads_what_was_written(tmp_path, bands, kind):
    pixels = np.random.default_rng(2).integers(0, np.iinfo(kind).max, (9, 14, bands), kind)
    found = decoded(write_tiff(tmp_path / "x.tif", pixels), ImageFormat(bands, 8 * pixels.itemsize))
    assert found.dtype == pixels.dtype
    assert np.array_equal(found, pixels)


def test_what_the_model_does_not_take_is_refused(tmp_path):
    six, good = np.zeros((4, 4, 6), np.uint16), tmp_path / "x.tif"
    write_tiff(good, six + 7)
    Image.new("RGB", (4, 4)).save(tmp_path / "x.png")
    Image.new("RGB", (4, 4)).save(tmp_path / "x.jpg")
    cut = tmp_path / "cut.tif"
    cut.write_bytes(good.read_bytes()[:-9])
    others = [write_tiff(tmp_path / f"{n}.tif", pixels) for n, pixels in enumerate((six[..., :5], six.astype("uint8")))]
    for path in (*others, cut, tmp_path / "x.png", tmp_path / "x.jpg"):
        with pytest.raises(tf.errors.InvalidArgumentError):
            decoded(path)


def test_a_mask_may_be_a_tiff(tmp_path):
    values = np.random.default_rng(2).integers(0, 2, (9, 14, 1), np.uint8)
    content = tf.constant(write_tiff(tmp_path / "m.tif", values).read_bytes())
    found = tf.function(lambda data: decode_mask(data, TWO_CLASSES.raw_to_index()))(content)
    assert np.array_equal(found.numpy(), values[..., 0])


def test_a_network_learns_from_the_fifth_band(world):
    summary = json.loads((world / "run" / "training" / "summary.json").read_bytes())
    # No other band tells anything: by chance it would be about 0.4.
    assert summary["scores"]["iou"] > 0.8
    info = read_info(world / "run" / "model")
    assert (info.bands, info.depth, len(info.mean)) == (BANDS, 16, BANDS)


def test_previews_show_the_first_three_bands_stretched():
    images = np.zeros((2, 20, 20, BANDS), np.float32)
    images[0, ..., :3] = np.linspace(1000, 3000, 400).reshape(20, 20, 1)
    images[1, ..., :3] = images[0, ..., :3] * 2
    images[..., 4] = 60_000
    found = visible(images, 16)
    assert found.shape == (2, 20, 20, 3)
    # From the 1st to the 99th percentile of each, whatever the other bands hold.
    assert [(one.min(), one.max(), round(one.mean())) for one in found] == [(0, 255, 128)] * 2
    assert visible(images, 16, of_one=True)[1].mean() > 200


def test_it_predicts_and_rejects_by_name(world, tmp_path):
    pairs = make_band_tiles(tmp_path, 5)
    pairs[3][0].write_bytes(pairs[3][0].read_bytes()[:-40])
    write_tiff(pairs[4][0], np.zeros((32, 32, 5), np.uint16))
    data = {"root": str(tmp_path), "images": "images", "masks": "masks"}
    run = make_run(tmp_path, "predict", data, model=str(world / "run" / "model"), predict={"batch_size": 2})
    assert complete(run) == 3
    rejected = (run.paths.report / "rejected.csv").read_text()
    assert '03.tif,"damaged or truncated TIFF of' in rejected
    assert '04.tif,"image of 5 bands of a TIFF, where the model takes 6"' in rejected
    for _, mask in pairs[:3]:
        wanted, found = np.asarray(Image.open(mask)), np.asarray(Image.open(run.paths.masks / mask.name))
        assert (wanted == found).mean() > 0.9
    assert "data:image/jpeg" in (run.paths.report / "index.html").read_text() or list(run.paths.report.rglob("*.jpg"))


def test_samples_are_drawn(world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_job(
        tmp_path / "job.yaml",
        kind="train",
        labels=TWO_CLASSES.model_dump(mode="json"),
        data={"root": str(world), "images": "images", "masks": "masks", "bands": BANDS, "depth": 16},
        model={"input": [32, 32]},
        augment=["flip_left_right", "contrast"],
    )
    done = CliRunner().invoke(cli, ["preview", "job.yaml", "--tiles", "2", "--columns", "1"])
    assert done.exit_code == 0, done.output + str(done.exception)
    sheet = np.asarray(Image.open(tmp_path / "job-preview.png").convert("RGB"))
    # The first three bands are noise that fills the range once it is stretched.
    assert sheet[70:200, 20:240].std() > 30


def test_a_keras_file_of_many_bands():
    inputs = keras.Input((8, 8, BANDS))
    model = keras.Model(inputs, keras.layers.Conv2D(1, 1, activation="sigmoid")(inputs))
    labels = Labels.model_validate(TWO_CLASSES.model_dump())
    assert derive_info(Path("m.keras"), model, labels).bands == BANDS

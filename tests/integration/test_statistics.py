"""Statistics of the training part: NumPy as the oracle, kept in run and bundle, used alike by training and predict."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from segbatch.data.normalize import Normalization, normalization_of
from segbatch.data.statistics import Tally, measure
from segbatch.errors import InputError, Interrupted
from segbatch.evaluation.counts import tally
from segbatch.inference.prepare import make_step
from segbatch.models.bundle import load_bundle
from segbatch.runs.bundles import bundle_digest
from segbatch.spec.bundle import BundleInfo, read_info
from segbatch.spec.inference import Predict
from tests.support.labels import TWO_CLASSES
from tests.support.tiny_training import SIDE, THREE, TRAIN, VAL, make_job, run
from tests.support.worlds import make_run, write_job

pytestmark = pytest.mark.tensorflow

WEIGHTED = {"name": "sum", "parts": [{"name": "auto", "class_weights": "rank"}, {"name": "dice", "weight": 0.5}]}


@pytest.fixture(scope="module")
def trained(tiles, tmp_path_factory):
    """One training with everything that rests on statistics."""
    folder = tmp_path_factory.mktemp("trained")
    job = make_job(model={"normalize": "standardize_image"}, loss=WEIGHTED, train={"epochs": 2, "previews": 1})
    lines: list[str] = []
    run(job, tiles, folder, log=lines.append)
    return folder, job, lines


def images_of(pairs):
    return np.stack([np.asarray(Image.open(os.fsdecode(pair[0])), np.float64) / 255 for pair in pairs])


def masks_of(pairs):
    masks = np.stack([np.asarray(Image.open(os.fsdecode(pair[1]))) for pair in pairs])
    return np.where(masks == 9, 255, masks)


def nothing(done):
    pass


# Measuring


def test_they_equal_numpy(tiles):
    found = measure(make_job(), tiles[:TRAIN], readers=2, tick=nothing)
    images, masks = images_of(tiles[:TRAIN]), masks_of(tiles[:TRAIN])
    assert found.tiles == TRAIN
    assert found.pixels.tolist() == [(masks == index).sum() for index in range(3)]
    valid = (masks != 255).sum(axis=(1, 2))
    assert found.areas.tolist() == [valid[(masks == index).any(axis=(1, 2))].sum() for index in range(3)]
    assert found.mean == pytest.approx(images.mean(axis=(0, 1, 2)), rel=1e-12)
    assert found.deviation == pytest.approx(images.std(axis=(0, 1, 2)), rel=1e-12)
    assert found.mean_image == pytest.approx(images.mean(axis=0), rel=1e-12)
    assert found.deviation_from_image == pytest.approx((images - images.mean(axis=0)).std(), rel=1e-12)


def test_neither_readers_nor_unreadable_tiles_matter(tiles, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"")
    broken = (os.fsencode(tmp_path / "broken.png"), tiles[0][1])
    done: list[int] = []
    one = measure(make_job(), [*tiles[:3], broken, *tiles[3:]], readers=1, tick=done.append)
    many = measure(make_job(), tiles, readers=7, tick=nothing)
    assert (one.tiles, done[-1]) == (len(tiles), len(tiles) + 1)
    for name in ("pixels", "areas", "mean_image", "square"):
        assert getattr(one, name).tobytes() == getattr(many, name).tobytes()
    assert measure(make_job(), [broken], readers=1, tick=nothing) is None


def test_small_deviations_of_bright_16_bit_images_keep_their_digits():
    tally = Tally(2, 16)
    images = 60000.0 + np.random.default_rng(3).normal(0, 3, (50, 8, 8, 1)).round()
    for image in images:
        tally.add(image.astype(np.float32), np.zeros((8, 8), np.uint8))
    assert tally.result().deviation == pytest.approx((images / 65535).std(axis=(0, 1, 2)), rel=1e-6)


# Normalising


def test_worked_numbers():
    image = np.array([[[0, 51, 255]]], np.uint8)
    assert Normalization("unit", 8)(image).numpy() == pytest.approx(np.array([[[0, 0.2, 1]]]))
    # (0 - .485) / .229, (.2 - .456) / .224, (1 - .406) / .225
    assert Normalization("imagenet", 8)(image).numpy() == pytest.approx(np.array([[[-2.117904, -1.142857, 2.64]]]))
    # A band that is the same everywhere has no deviation, and is divided by 1.
    found = Normalization("standardize", 8, (0.5, 0.2, 0.5), (0.25, 0.0, 0.1))(image).numpy()
    assert found == pytest.approx(np.array([[[-2, 0, 5]]]), abs=1e-6)
    found = Normalization("standardize_image", 8, np.full((1, 1, 3), 0.2), (0.4,))(image).numpy()
    assert found == pytest.approx(np.array([[[-0.5, 0, 2]]]), abs=1e-6)
    with pytest.raises(ValueError, match="standardize: expected statistics"):
        Normalization("standardize", 8)


def test_pixels_are_divided_once_unlike_the_notebook():
    """`convert_image_dtype` divides by 255 already; divided again, white is 1 / 255."""
    white = np.full((1, 1, 3), 255, np.uint8)
    twice = tf.image.convert_image_dtype(white, tf.float32) / 255
    assert float(tf.reduce_max(twice)) == pytest.approx(0.003922, abs=1e-6)
    assert float(tf.reduce_max(Normalization("unit", 8)(white))) == 1.0


def test_other_parts_are_normalised_by_the_training_part_unlike_the_notebook():
    """Training tiles of grey 64 and 128, a validation tile of 160: the notebook makes it 0, as any other tile alone."""
    tally = Tally(2, 8)
    for grey in (64, 128):
        tally.add(np.full((4, 4, 3), grey, np.uint8), np.zeros((4, 4), np.uint8))
    found = tally.result()
    brighter = np.full((4, 4, 3), 160, np.uint8)
    notebook = (brighter / 255 - (brighter / 255).mean()) / max((brighter / 255).std(), 1e-9)
    assert np.abs(notebook).max() == pytest.approx(0, abs=1e-6)
    # (160 - 96) / 32 grey levels
    ours = Normalization("standardize", 8, found.mean, found.deviation)(brighter).numpy()
    assert ours == pytest.approx(np.full((4, 4, 3), 2.0), rel=1e-5)


# In a training


def test_run_and_bundle_keep_counts_and_weights(trained, tiles):
    folder, _, lines = trained
    assert lines[0].startswith(f"statistics of {TRAIN} training tiles taken in")
    with (folder / "training" / "class_weights.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    pixels = [int((masks_of(tiles[:TRAIN]) == index).sum()) for index in range(3)]
    order = np.argsort(pixels)
    assert [row["class"] for row in rows] == ["ground", "box", "stripe"]
    assert [int(row["pixels"]) for row in rows] == pixels
    assert [float(row["share"]) for row in rows] == pytest.approx(np.array(pixels) / sum(pixels))
    assert [float(rows[index]["weight"]) for index in order] == [6, 5, 5]
    told = read_info(folder / "model").provenance
    by_class = {"ground": pixels[0], "box": pixels[1], "stripe": pixels[2]}
    assert told["training_part"] == {"tiles": TRAIN, "pixels": by_class}
    weights = {row["class"]: float(row["weight"]) for row in rows}
    assert told["class_weights"] == [{"loss": "auto", "scheme": "rank", "weights": weights}]


def test_the_bundle_alone_normalises_as_training_did(trained, tiles, tmp_path):
    """Its copy, with no job and no run beside it, scores as the history says; statistics are of the training part."""
    folder, _, _ = trained
    shutil.copytree(folder / "model", tmp_path / "copy")
    bundle = load_bundle(tmp_path / "copy")
    images = images_of(tiles)
    mean = images[:TRAIN].mean(axis=0)
    deviation = (images[:TRAIN] - mean).std()
    assert bundle.mean_image == pytest.approx(mean, rel=1e-6)
    assert bundle.info.deviation == pytest.approx([deviation], rel=1e-9)
    raw = tf.constant(images[TRAIN:] * 255, tf.float32)
    seen = normalization_of(bundle.info, bundle.mean_image)(raw).numpy()
    assert seen == pytest.approx((images[TRAIN:] - mean) / deviation, abs=1e-5)
    truth = masks_of(tiles[TRAIN:])
    step = make_step(bundle, Predict(batch_size=VAL), with_truth=True)
    results = step(tf.cast(raw, tf.uint8), np.full((VAL, 2), SIDE), tf.constant(truth, tf.uint8))
    classes = len(bundle.info.labels.scored)
    counts = sum(np.asarray(tally(result.truth, result.mask, classes)[0]) for result in results)
    assert np.trace(counts) / counts.sum() == pytest.approx(bundle.info.provenance["scores"]["accuracy"], rel=1e-9)


@pytest.mark.parametrize("name", ["unit", "standardize", "imagenet"])
def test_each_way_trains_and_loads(name, tiles, tmp_path):
    run(make_job(model={"normalize": name}, train={"epochs": 1}), tiles, tmp_path)
    info = read_info(tmp_path / "model")
    images = images_of(tiles[:TRAIN])
    assert info.normalize == name
    assert (tmp_path / "training" / "statistics.npz").exists() == (name == "standardize")
    if name == "standardize":
        assert info.mean == pytest.approx(images.mean(axis=(0, 1, 2)))
        assert info.deviation == pytest.approx(images.std(axis=(0, 1, 2)))
    bundle = load_bundle(tmp_path / "model")
    assert bundle.mean_image is None
    assert normalization_of(bundle.info, None)(tf.zeros((1, SIDE, SIDE, 3))).shape == (1, SIDE, SIDE, 3)


def test_a_resumed_training_takes_what_is_there(trained, tiles, tmp_path):
    folder, job, _ = trained
    left = iter(range(4))
    with pytest.raises(Interrupted, match="epoch 1 of 2"):
        run(job, tiles, tmp_path, stop=lambda: next(left, None) is None)
    kept = (tmp_path / "training" / "statistics.npz").read_bytes()
    lines: list[str] = []
    run(job, tiles, tmp_path, log=lines.append)
    assert not any("statistics" in line for line in lines)
    assert (tmp_path / "training" / "statistics.npz").read_bytes() == kept
    for name in ("history.csv", "class_weights.csv"):
        assert (tmp_path / "training" / name).read_bytes() == (folder / "training" / name).read_bytes()


def test_stopped_while_measuring(trained, tiles, tmp_path):
    _, job, _ = trained
    with pytest.raises(Interrupted, match=f"Stopped while taking statistics, after {TRAIN} of {TRAIN} tiles"):
        run(job, tiles, tmp_path, stop=lambda: True)
    progress = json.loads((tmp_path / "progress.json").read_bytes())
    assert (progress["note"], progress["total"]) == ("interrupted", TRAIN)
    assert not (tmp_path / "training" / "statistics.npz").exists()


def test_statistics_of_other_data_are_refused(trained, tiles, tmp_path):
    folder, job, _ = trained
    place = tmp_path / "training"
    place.mkdir()
    shutil.copy(folder / "training" / "statistics.npz", place)
    with pytest.raises(InputError, match=r"belong to other data: other tiles in part train \(11 then, 10 now\)"):
        run(job, tiles, tmp_path, train=TRAIN - 1)
    smaller = make_job(model={"normalize": "standardize_image", "input": (16, 16)}, loss=WEIGHTED)
    with pytest.raises(InputError, match=r"model\.input\[0\] was 32, is 16"):
        run(smaller, tiles, tmp_path)


def test_damaged_statistics_are_taken_anew(trained, tiles, tmp_path):
    folder, job, _ = trained
    (tmp_path / "training").mkdir()
    whole = (folder / "training" / "statistics.npz").read_bytes()
    (tmp_path / "training" / "statistics.npz").write_bytes(whole[:-100])
    lines: list[str] = []
    run(job, tiles, tmp_path, log=lines.append)
    assert lines[0].startswith("damaged statistics, taken anew")
    assert (tmp_path / "training" / "history.csv").read_bytes() == (folder / "training" / "history.csv").read_bytes()


def test_weights_change_what_is_learned_and_given_ones_need_no_counts(tiles, tmp_path):
    losses = {}
    for name, weights in (("none", None), ("given", {"box": 3.0}), ("list", [1, 3, 1])):
        job = make_job(loss={"class_weights": weights}, train={"epochs": 1})
        losses[name] = run(job, tiles, tmp_path / name)["scores"]["loss"]
        assert not (tmp_path / name / "training" / "statistics.npz").exists()
    assert losses["given"] == losses["list"] != losses["none"]
    table = (tmp_path / "given" / "training" / "class_weights.csv").read_text()
    assert table == "class,pixels,share,weight\nground,,,1.0\nbox,,,3.0\nstripe,,,1.0\n"


# Labelled regions


def test_pixels_outside_the_labelled_region_are_ignored(tiles, tmp_path):
    """A training with a region equals one whose masks say void there; in training and validation."""
    labelled, voided = [], []
    generator = np.random.default_rng(8)
    for number, (image, mask) in enumerate(tiles):
        region = (generator.random((SIDE, SIDE)) < 0.3) * generator.integers(1, 256, (SIDE, SIDE))
        paths = tmp_path / f"region {number}.png", tmp_path / f"void {number}.png"
        Image.fromarray(region.astype(np.uint8)).save(paths[0])
        truth = np.asarray(Image.open(os.fsdecode(mask)))
        Image.fromarray(np.where(region > 0, truth, 9).astype(np.uint8)).save(paths[1])
        labelled.append((image, mask, os.fsencode(paths[0])))
        voided.append((image, os.fsencode(paths[1])))
    settings = {"loss": {"name": "partial_crossentropy", "class_weights": "inverse"}, "train": {"epochs": 2}}
    one = run(make_job(**settings, data={"labelled": "r"}), labelled, tmp_path / "one")
    two = run(make_job(**settings), voided, tmp_path / "two")
    assert one["scores"] == two["scores"]
    for name in ("history.csv", "class_weights.csv"):
        assert (tmp_path / "one/training" / name).read_bytes() == (tmp_path / "two/training" / name).read_bytes()
    assert one["scores"] != run(make_job(**settings), tiles, tmp_path / "three")["scores"]


# Keras files, windows, digests and the command


@pytest.mark.parametrize("bands", [1, 3])
def test_a_keras_file_may_want_imagenets_figures(bands, tmp_path):
    inputs = keras.Input((8, 8, bands))
    keras.Model(inputs, keras.layers.Conv2D(1, 1)(inputs)).save(tmp_path / "m.keras")
    if bands == 3:
        info = load_bundle(tmp_path / "m.keras", labels=TWO_CLASSES, normalize="imagenet").info
        seen = normalization_of(info, None)(np.zeros((1, 8, 8, 3), np.uint8)).numpy()
        assert seen[0, 0, 0] == pytest.approx([-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225])
    else:
        with pytest.raises(InputError, match="imagenet is for 3 bands, this network takes 1"):
            load_bundle(tmp_path / "m.keras", labels=TWO_CLASSES, normalize="imagenet")


def test_windows_do_not_go_with_a_mean_image(trained, tiles, tmp_path):
    folder, _, _ = trained
    data = {"root": os.path.dirname(os.fsdecode(tiles[0][0])), "images": "."}
    model = {"bundle": str(folder / "model")}
    with pytest.raises(InputError, match=r"predict\.fit: window does not go with this model.*Expected `fit: resize`"):
        make_run(tmp_path, "predict", data, model=model, predict={"fit": "window"})
    assert make_run(tmp_path, "predict", data, model=model).record.tiles == 2 * (TRAIN + VAL)


def test_the_mean_image_belongs_to_the_bundle(trained, tmp_path):
    folder, _, _ = trained
    copy = tmp_path / "copy"
    shutil.copytree(folder / "model", copy)
    before = bundle_digest(copy)
    np.save(copy / "mean_image.npy", np.zeros((SIDE, SIDE, 3), np.float32))
    assert bundle_digest(copy) != before
    np.save(copy / "mean_image.npy", np.zeros((SIDE, SIDE, 1), np.float32))
    with pytest.raises(InputError, match=r"expected a mean image of shape \(32, 32, 3\), received \(32, 32, 1\)"):
        load_bundle(copy)
    (copy / "mean_image.npy").unlink()
    with pytest.raises(InputError, match="the mean image cannot be read"):
        load_bundle(copy)
    info = json.loads((copy / "bundle.json").read_bytes())
    (copy / "bundle.json").write_text(json.dumps(info | {"normalize": "standardize"}))
    with pytest.raises(InputError, match="standardize of 3 bands has 3 means and 3 deviations, received 0 and 1"):
        read_info(copy)
    assert BundleInfo.model_validate(info).files == ("bundle.json", "model.keras", "mean_image.npy")


def test_stats_prints_what_training_would_use(tiles, tmp_path, repo):
    root = tmp_path / "data"
    for number, (image, mask) in enumerate(tiles[:4]):
        for kind, source in (("images", image), ("masks", mask)):
            (root / kind).mkdir(parents=True, exist_ok=True)
            shutil.copy(os.fsdecode(source), root / kind / f"{number}.png")
    (root / "images" / "2.png").write_bytes(b"no picture")
    model = {"input": [SIDE, SIDE], "depth": 1}
    data = {"root": str(root), "images": "images", "masks": "masks"}
    job = write_job(tmp_path / "job.yaml", kind="train", labels=THREE, data=data, model=model)
    command = [sys.executable, "-m", "segbatch", "stats", str(job)]
    environ = os.environ | {"PYTHONPATH": str(repo)}
    plain, as_json = (
        subprocess.run([*command, *more], capture_output=True, text=True, cwd=tmp_path, env=environ)
        for more in ([], ["--json"])
    )
    kept = [tiles[number] for number in (0, 1, 3)]
    told = json.loads(as_json.stdout)
    masks, images = masks_of(kept), images_of(kept)
    assert [item["pixels"] for item in told["classes"]] == [(masks == index).sum() for index in range(3)]
    assert sorted(item["weights"]["rank"] for item in told["classes"]) == [5, 5, 6]
    assert told["mean"] == pytest.approx(images.mean(axis=(0, 1, 2)))
    assert told["deviation"] == pytest.approx(images.std(axis=(0, 1, 2)))
    assert told["deviation_from_mean_image"] == pytest.approx((images - images.mean(axis=0)).std())
    assert "training part: 3 tiles at 32x32" in plain.stdout
    assert "1 of 4 tiles could not be read" in plain.stdout
    assert "stripe" in plain.stdout
    assert (plain.returncode, as_json.returncode) == (3, 3)
    assert plain.stderr == as_json.stderr == ""
    assert not (tmp_path / "runs").exists()

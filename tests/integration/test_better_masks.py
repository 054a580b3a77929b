"""Masks made with more care: several views, other thresholds, holes and small regions, finer probabilities."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from sklearn.metrics import confusion_matrix, jaccard_score

from segbatch.errors import Exit, InputError
from segbatch.evaluation.counts import unpack
from segbatch.inference.costs import options_of
from segbatch.inference.prepare import cleaning_of, make_step
from segbatch.inference.regions import absorb_small, fill_holes
from segbatch.inference.results import TileResult
from segbatch.inference.views import averaged, views_of
from segbatch.models.bundle import Bundle, load_bundle
from segbatch.models.decision import decide
from segbatch.runs.journal import read_task
from segbatch.runs.plan import make_plan
from segbatch.spec.bundle import BundleInfo
from segbatch.spec.engines import missing_packages
from segbatch.spec.inference import Predict
from segbatch.spec.job import PredictJob
from segbatch.spec.labels import Labels
from segbatch.worker import run_task
from tests.support.labels import TWO_CLASSES
from tests.support.needs import lacking
from tests.support.tiny_training import THREE, TRAIN, TWO, make_job, run
from tests.support.tiny_training import make_tiles as make_training_tiles
from tests.support.worlds import green_model, make_bundle, make_run, make_tiles, mixing_model, outputs

pytestmark = pytest.mark.tensorflow

ALL = ["flips", "quarter_turns"]


def bundle_of(model: Any, labels: Labels = TWO_CLASSES, **info: Any) -> Bundle:
    head = "binary" if model.output_shape[-1] == 1 else "multiclass"
    settings = {"name": "m", "labels": labels, "head": head, "input": model.input_shape[1:3], **info}
    return Bundle(BundleInfo.model_validate(settings), model, Path("m"))


def predicted(bundle: Bundle, images: np.ndarray, truth: np.ndarray | None = None, **predict: Any) -> list[TileResult]:
    """Masks of a batch of tiles of one size, cleaned where that is asked for."""
    settings = Predict.model_validate({"batch_size": len(images), **predict})
    step = make_step(bundle, settings, with_truth=truth is not None)
    known = np.full(images.shape[:3], 255, np.uint8) if truth is None else truth
    sizes = np.tile(np.array(images.shape[1:3], np.int32), (len(images), 1))
    results = step(tf.constant(images), sizes, tf.constant(known))
    cleaning = cleaning_of(bundle.info, bundle.path, settings) or (lambda mask: mask)
    return [replace(result, mask=cleaning(result.mask)) for result in results if result is not None]


def noise(*shape: int, top: int = 256, dtype: Any = np.uint8) -> np.ndarray:
    return np.random.default_rng(11).integers(0, top, shape).astype(dtype)


def symmetries(kinds: list[str]) -> list[tuple[Any, Any]]:
    """Each view and the way back, written out with NumPy for [h, w, c]."""
    flips = [
        (lambda x: x, lambda x: x),
        (np.fliplr, np.fliplr),
        (np.flipud, np.flipud),
        (lambda x: np.flipud(np.fliplr(x)), lambda x: np.flipud(np.fliplr(x))),
    ]
    turns = [(lambda x, k=k: np.rot90(x, k), lambda x, k=k: np.rot90(x, -k)) for k in range(4)]
    transposed = [
        (lambda x: x.transpose(1, 0, 2), lambda x: x.transpose(1, 0, 2)),
        (lambda x: np.rot90(x, 2).transpose(1, 0, 2), lambda x: np.rot90(x.transpose(1, 0, 2), 2)),
    ]
    if kinds == ["flips"]:
        return flips
    return turns if kinds == ["quarter_turns"] else [*flips, turns[1], turns[3], *transposed]


@pytest.mark.parametrize(("kinds", "classes"), [(["flips"], 2), (["quarter_turns"], 3), (ALL, 2)])
def test_the_mask_is_that_of_the_mean_over_all_views(kinds: list[str], classes: int) -> None:
    labels = (
        TWO_CLASSES
        if classes == 2
        else Labels.model_validate(
            {"name": "three", "classes": [{"id": n, "name": str(n), "color": (n, n, n)} for n in range(3)]}
        )
    )
    model = mixing_model(classes=classes)
    images = noise(2, 32, 32, 3)
    views = symmetries(kinds)
    means = []
    for image in images:
        seen = np.stack([view(image / np.float32(255)) for view, _ in views])
        logits = model(seen, training=False).numpy().astype(np.float64)
        shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True) if classes > 2 else 1 / (1 + np.exp(-logits))
        means.append(np.mean([back(map_) for (_, back), map_ in zip(views, shares, strict=True)], axis=0))
    for fit in ("resize", "window"):
        results = predicted(bundle_of(model, labels), images, test_time_augmentation=kinds, probabilities=16, fit=fit)
        for result, mean in zip(results, means, strict=True):
            expected = mean[..., 0] >= 0.5 if classes == 2 else mean.argmax(-1)
            shown = mean[..., 0] if classes == 2 else mean.max(-1)
            assert (result.mask == expected).mean() > 0.999
            assert np.abs(result.probability - shown * 65535).max() < 2


def test_views_commute_with_the_network_where_it_has_no_sides() -> None:
    """Turned tiles get turned masks, whatever the network; without views they do not."""
    bundle = bundle_of(mixing_model())
    image = noise(32, 32, 3)
    both = np.stack([image, np.rot90(image)])
    plain, plain_turned = (it.probability for it in predicted(bundle, both, probabilities=16))
    assert np.abs(np.rot90(plain).astype(int) - plain_turned).max() > 100
    averaged_over_all = predicted(bundle, both, probabilities=16, test_time_augmentation=ALL)
    one, other = (it.probability for it in averaged_over_all)
    assert np.abs(np.rot90(one).astype(int) - other).max() <= 1


def test_equal_values_come_out_of_the_mean_to_the_bit() -> None:
    value = tf.fill([1, 4, 4, 1], np.float32(0.1))
    for kinds in ((), ("flips",), ("flips", "quarter_turns")):
        assert (averaged(lambda pixels: pixels, value, views_of(kinds)).numpy() == np.float32(0.1)).all()


def test_flips_of_an_oblong_network_and_sixteen_bit_images_of_four_bands() -> None:
    keras.utils.set_random_seed(3)
    inputs = keras.Input((16, 24, 4))
    model = keras.Model(inputs, keras.layers.Conv2D(1, 5, padding="same")(inputs))
    bundle = bundle_of(model, bands=4, depth=16)
    images = noise(2, 16, 24, 4, top=65536, dtype=np.uint16)
    results = predicted(bundle, images, test_time_augmentation=["flips"], probabilities=16)
    views = symmetries(["flips"])
    for image, result in zip(images, results, strict=True):
        logits = model(np.stack([view(image / np.float32(65535)) for view, _ in views])).numpy()
        mean = np.mean([back(1 / (1 + np.exp(-z))) for (_, back), z in zip(views, logits, strict=True)], axis=0)
        assert np.abs(result.probability - mean[..., 0] * 65535).max() < 2
    with pytest.raises(InputError, match="square input"):
        predicted(bundle, images, test_time_augmentation=["quarter_turns"])


def test_no_class_is_chosen_below_its_own_threshold() -> None:
    logits = np.random.default_rng(2).normal(size=(4000, 3)).astype(np.float32)
    shares = tf.nn.softmax(logits).numpy()
    thresholds = (0.5, 0.3, 0.2)
    chosen = decide(tf.constant(logits), "multiclass", "logits", thresholds=thresholds).numpy()
    assert np.array_equal(chosen, decide(tf.constant(shares), "multiclass", "probabilities", thresholds=thresholds))
    assert np.array_equal(chosen, (shares / thresholds).argmax(-1))
    assert (shares[np.arange(4000), chosen] >= np.array(thresholds)[chosen] - 1e-6).all()
    assert not np.array_equal(chosen, shares.argmax(-1))


def test_two_classes_with_two_channels_have_the_binary_rule() -> None:
    scores = np.random.default_rng(2).normal(size=(4000, 1)).astype(np.float32)
    both = np.concatenate([np.zeros_like(scores), scores], axis=-1)
    one = decide(tf.constant(scores), "binary", "logits", 0.3)
    assert np.array_equal(one, decide(tf.constant(both), "multiclass", "logits", thresholds=(0.7, 0.3)))


def test_written_masks_are_clean_and_scored_as_they_are(tmp_path: Path) -> None:
    sizes = [(40, 40), (40, 40), (33, 57)]
    make_tiles(tmp_path, 12, size=sizes)
    (tmp_path / "masks" / "a" / "tile 0003.png").unlink()
    bundle = make_bundle(tmp_path / "model", mixing_model())
    data = {"root": str(tmp_path), "images": "images", "masks": "masks"}
    wanted = {"min_region": 30, "fill_holes": {"forest": 60}}
    plain, clean = (
        make_run(tmp_path, "predict", data, model=str(bundle), predict={"batch_size": 4, **more})
        for more in ({}, wanted)
    )
    for each in (plain, clean):
        assert [run_task(each.paths.folder, task) for task in each.tasks] == [0] * len(each.tasks)
    changed = 0
    rows = {row.index: row for task in clean.tasks for row in read_task(clean.paths.task(task)).values()}
    for index, path in enumerate(sorted((tmp_path / "images").rglob("*.png"))):
        name = path.relative_to(tmp_path / "images")
        before, after = (np.asarray(Image.open(each.paths.masks / name)) for each in (plain, clean))
        assert np.array_equal(after, absorb_small(fill_holes(before, [0, 60]), [30, 30]))
        changed += not np.array_equal(before, after)
        truth_path = tmp_path / "masks" / name
        if truth_path.exists():
            truth = np.asarray(Image.open(truth_path)).ravel()
            counts = unpack(rows[index].counts, 2)[:, :2]
            assert np.array_equal(counts, confusion_matrix(truth, after.ravel(), labels=[0, 1]))
        else:
            assert rows[index].counts == "-"
    assert changed > 3
    assert run_task(clean.paths.folder, None) == Exit.OK
    assert "clean" in json.loads((clean.paths.report / "summary.json").read_text())["timing"]["stages"]


def test_sixteen_bit_probabilities_are_written_as_such(tmp_path: Path) -> None:
    make_tiles(tmp_path, 3)
    bundle = make_bundle(tmp_path / "model", mixing_model())
    data = {"root": str(tmp_path), "images": "images"}
    shown = {}
    for bits in (8, 16):
        each = make_run(tmp_path, "predict", data, model=str(bundle), predict={"batch_size": 2, "probabilities": bits})
        assert run_task(each.paths.folder, 0) == 0
        shown[bits] = [np.asarray(Image.open(path)) for path in sorted(each.paths.probabilities.rglob("*.png"))]
        assert len([name for name in outputs(each) if name.startswith("probabilities/")]) == 3
    for coarse, fine in zip(shown[8], shown[16], strict=True):
        assert (coarse.dtype, fine.dtype.itemsize) == (np.uint8, fine.dtype.itemsize)
        assert len(np.unique(fine)) > len(np.unique(coarse))
        assert np.abs(fine / 65535 - coarse / 255).max() <= 0.51 / 255


def test_submission_refuses_what_the_bundle_lacks(tmp_path: Path) -> None:
    make_tiles(tmp_path, 2)
    bundle = make_bundle(tmp_path / "model", green_model())
    for predict, said in (
        ({"threshold": "best_iou"}, "this model has none"),
        ({"min_region": {"wood": 3}}, "no class 'wood'"),
    ):
        job = PredictJob.model_validate(
            {
                "kind": "predict",
                "name": "p",
                "model": str(bundle),
                "data": {"root": str(tmp_path), "images": "images"},
                "predict": predict,
            }
        )
        with pytest.raises(InputError, match=said):
            make_plan(job, tmp_path / "job.yaml", runs_root=tmp_path / "runs")


@pytest.fixture(scope="module")
def chosen(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[tuple[bytes, bytes]], list[str]]:
    """A training that chooses its threshold; stripes and boxes against ground, so that 0.5 need not be the best."""
    folder = tmp_path_factory.mktemp("chosen")
    pairs = make_training_tiles(folder / "tiles")
    labels = {"name": "any", "classes": [dict(item) for item in TWO["classes"]]}
    labels["classes"][1]["values"] = [1, 2]
    labels["classes"].append(dict(THREE["classes"][3]))
    said: list[str] = []
    job = make_job(labels=labels, train={"threshold": "best_iou", "epochs": 2})
    run(job, pairs, folder, log=said.append)
    return folder, pairs, said


def test_training_keeps_the_threshold_of_highest_iou(chosen: tuple[Path, list[Any], list[str]]) -> None:
    folder, pairs, said = chosen
    bundle = load_bundle(folder / "model")
    images = np.stack([np.asarray(Image.open(image.decode())) for image, _ in pairs[TRAIN:]])
    raw = np.stack([np.asarray(Image.open(mask.decode())) for _, mask in pairs[TRAIN:]])
    truth, valid = np.isin(raw, (1, 2)), raw != 9
    logits = bundle.model(images / np.float32(255), training=False).numpy()[..., 0]

    def iou(threshold: float) -> float:
        guess = decide(tf.constant(logits[..., None]), "binary", "logits", threshold).numpy()
        return float(jaccard_score(truth[valid], guess[valid], zero_division=0))

    best = bundle.info.best_iou
    assert best is not None
    assert bundle.info.threshold == best.threshold
    table = list(csv.DictReader((folder / "training" / "thresholds.csv").open()))
    assert [float(row["threshold"]) for row in table] == [level / 1024 for level in range(1, 1024)]
    for row in table[15::64]:
        assert float(row["IoU"]) == pytest.approx(iou(float(row["threshold"])), abs=1e-3)
    assert best.iou == max(float(row["IoU"]) for row in table)
    assert best.iou == pytest.approx(iou(best.threshold), abs=1e-3)
    assert best.iou_at_half == pytest.approx(iou(0.5), abs=1e-3)
    assert best.iou > best.iou_at_half
    assert any(line.startswith(f"threshold {best.threshold:g}, of highest IoU") for line in said)


def test_predicting_takes_the_chosen_threshold_unless_told(chosen: tuple[Path, list[Any], list[str]]) -> None:
    folder, pairs, _ = chosen
    bundle = load_bundle(folder / "model")
    images = np.stack([np.asarray(Image.open(image.decode())) for image, _ in pairs[:4]])
    own, named, half = (
        np.stack([result.mask for result in predicted(bundle, images, **more)])
        for more in ({}, {"threshold": "best_iou"}, {"threshold": 0.5})
    )
    assert np.array_equal(own, named)
    assert not np.array_equal(own, half)


def test_an_interrupted_choice_is_made_again(chosen: tuple[Path, list[Any], list[str]]) -> None:
    """The bundle is lost and nothing is left to train: the last attempt's end is done once more, to the same values."""
    from segbatch.spec.bundle import read_info

    folder, pairs, _ = chosen
    before = read_info(folder / "model")
    (folder / "training" / "summary.json").unlink()
    labels = before.labels.model_dump()
    run(make_job(labels=labels, train={"threshold": "best_iou", "epochs": 2}), pairs, folder)
    assert read_info(folder / "model") == before


def test_options_are_offered_where_the_model_can_have_them(chosen: tuple[Path, list[Any], list[str]]) -> None:
    bundle = load_bundle(chosen[0] / "model")
    found = options_of(bundle, Predict(min_region=4, probabilities=True))
    assert list(found) == [
        "none of them",
        "test_time_augmentation: [flips]",
        "test_time_augmentation: [quarter_turns]",
        "test_time_augmentation: [flips, quarter_turns]",
        "thresholds: {box: 0.3}",
        "fill_holes: {box: all}",
        "min_region: 20",
        "probabilities: 8",
        "probabilities: 16",
    ]
    assert found["none of them"] == Predict()
    oblong = Bundle(bundle.info.model_copy(update={"input": (32, 64)}), bundle.model, bundle.path)
    assert not any("quarter_turns" in name for name in options_of(oblong, Predict()))


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("fit", ["resize", "window"])
def test_other_engines_see_the_same_views(
    engine: str,
    fit: str,
    chosen: tuple[Path, list[Any], list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if missing := missing_packages(engine):
        lacking(f"no {', '.join(missing)}: pip install -e '.[dev]'")
    bundle = load_bundle(chosen[0] / "model")
    settings = Predict.model_validate(
        {"batch_size": 2, "test_time_augmentation": ALL, "probabilities": 16, "fit": fit, "threshold": 0.5}
    )
    images, none = tf.constant(noise(2, 32, 32, 3)), tf.fill([2, 32, 32], np.uint8(255))
    sizes = np.full((2, 2), 32, np.int32)
    own, other = (
        list(make_step(bundle, settings, with_truth=False, engine=name, digest="sha256:1")(images, sizes, none))
        for name in ("tensorflow", engine)
    )
    for one, two in zip(own, other, strict=True):
        assert np.abs(one.probability.astype(int) - two.probability).max() <= 1

"""Trainings of a few tiny tiles: what they leave on disk, what they count, how they stop."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from sklearn.metrics import confusion_matrix

from segbatch.errors import InputError, Interrupted, SegbatchError, TooManyRejectedError
from segbatch.models.bundle import load_bundle
from segbatch.spec.bundle import read_info
from segbatch.training.rejections import limit_of
from tests.support.tiny_training import SIDE, TRAIN, TWO, VAL, make_job, run

pytestmark = [pytest.mark.tensorflow, pytest.mark.usefixtures("determinism_ends_here")]


@pytest.fixture(scope="module")
def trained(tiles, tmp_path_factory):
    """A finished training of three classes, and what it said."""
    folder = tmp_path_factory.mktemp("trained")
    lines: list[str] = []
    job = make_job(train={"previews": 2, "epochs": 4, "best": "dice"})
    summary = run(job, tiles, folder, log=lines.append)
    return folder, job, summary, lines


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as handle:
        return list(csv.DictReader(handle))


def val_masks(tiles) -> np.ndarray:
    masks = np.stack([np.asarray(Image.open(os.fsdecode(mask))) for _, mask in tiles[TRAIN:]])
    return np.where(masks == 9, 255, masks)


def predict(folder: Path, tiles) -> np.ndarray:
    """Logits of the validation tiles, by the bundle alone."""
    images = np.stack([np.asarray(Image.open(os.fsdecode(image)), np.float32) / 255 for image, _ in tiles[TRAIN:]])
    return load_bundle(folder / "model").model(tf.constant(images), training=False).numpy()


def test_it_learns_and_tells(trained):
    _, _, summary, lines = trained
    assert [line.split()[:2] for line in lines[:4]] == [["epoch", f"{epoch}/4"] for epoch in range(1, 5)]
    assert all("tiles/s" in line and "val IoU" in line for line in lines[:4])
    assert "left" in lines[0]
    assert lines[-1].startswith("training finished: best epoch")
    assert summary["epochs"] == 4
    assert summary["best_by"] == "val dice"
    assert summary["tiles"] == {"train": TRAIN, "val": VAL}
    assert summary["rejected"] == 0


def test_history_has_a_line_an_epoch(trained):
    folder, _, summary, _ = trained
    rows = read_table(folder / "training" / "history.csv")
    figures = ["loss", "accuracy", "iou", "dice"]
    by_class = [f"val_{what} {name}" for name in ("ground", "box", "stripe") for what in ("iou", "dice")]
    judged = [f"val_{name}" for name in figures]
    assert list(rows[0]) == ["epoch", "phase", *figures, *judged, "learning_rate", "dropout", *by_class]
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    assert {(row["learning_rate"], row["phase"], row["dropout"]) for row in rows} == {("0.01", "1", "")}
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    dice = [float(row["val_dice"]) for row in rows]
    assert summary["best_epoch"] == 1 + dice.index(max(dice))
    assert summary["scores"]["dice"] == max(dice)
    times = read_table(folder / "training" / "timing.csv")
    assert list(times[0]) == ["epoch", "train_seconds", "val_seconds", "tiles_per_second"]
    assert len(times) == 4


def test_live_scores_are_those_of_the_bundle(trained, tiles):
    """The bundle's own predictions, counted by scikit-learn, give the history's best line to the digit."""
    folder, _, summary, _ = trained
    truth, logits = val_masks(tiles), predict(folder, tiles)
    valid = truth != 255
    matrix = confusion_matrix(truth[valid], logits.argmax(-1)[valid], labels=[0, 1, 2])
    hit, union = matrix.diagonal(), matrix.sum(0) + matrix.sum(1) - matrix.diagonal()
    assert list(summary["scores"]["class_iou"].values()) == (hit / union).tolist()
    assert summary["scores"]["accuracy"] == hit.sum() / matrix.sum()
    logs = tf.nn.log_softmax(logits.astype(np.float64)).numpy()
    loss = -np.take_along_axis(logs[valid], truth[valid][:, None].astype(int), 1).mean()
    assert summary["scores"]["loss"] == pytest.approx(loss, rel=1e-5)


def test_bundle_says_what_predicting_needs(trained):
    folder, job, summary, _ = trained
    info = read_info(folder / "model")
    assert (info.name, info.head, info.output, info.input) == ("tiny", "multiclass", "logits", (SIDE, SIDE))
    assert info.labels == job.labels
    assert info.threshold == 0.5
    assert info.provenance["run"] == "tiny/1"
    assert info.provenance["epoch"] == summary["best_epoch"]
    assert info.provenance["scores"]["iou"] == summary["scores"]["iou"]


def test_pictures(trained):
    folder, _, _, _ = trained
    previews = sorted((folder / "training" / "previews").iterdir())
    assert [path.name for path in previews] == [f"epoch-{epoch:04d}.png" for epoch in range(1, 5)]
    with Image.open(previews[-1]) as sheet:
        # Four columns (image, truth, prediction, overlay) and two rows of 192 pixels, with headings.
        assert sheet.width == 8 + 4 * 200
        assert sheet.height > 2 * 192
        colors = {color for _, color in sheet.getcolors(1 << 20)}
        assert {(20, 20, 20), (250, 80, 10), (0, 120, 250)} <= colors
    with Image.open(folder / "training" / "curves.png") as curves:
        assert min(curves.size) > 500


def test_progress_counts_the_tiles_of_all_epochs(trained):
    folder, _, _, _ = trained
    progress = json.loads((folder / "progress.json").read_bytes())
    assert (progress["done"], progress["total"], progress["unit"]) == (4 * 16, 4 * 16, "tiles")


def test_a_finished_training_is_left_alone(trained, tiles):
    folder, job, summary, _ = trained
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    lines: list[str] = []
    assert run(job, tiles, folder, log=lines.append) == summary
    assert len(lines) == 1
    assert lines[0].startswith("training is finished already: best epoch")
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_lost_bundle_is_made_again_from_the_best_epoch(trained, tiles):
    folder, job, summary, _ = trained
    before = predict(folder, tiles)
    for path in (folder / "model").iterdir():
        path.unlink()
    (folder / "model").rmdir()
    assert run(job, tiles, folder) == summary
    assert (predict(folder, tiles) == before).all()


def test_more_epochs_on_the_same_folder_are_refused(trained, tiles):
    folder, _, _, _ = trained
    with pytest.raises(InputError, match=r"train\.epochs was 4, is 5"):
        run(make_job(train={"epochs": 5, "best": "dice"}), tiles, folder)


def test_two_classes_without_validation(tiles, tmp_path):
    """A binary head; the third class's pixels are ignored; the best epoch is picked by training figures."""
    two = TWO | {"unclaimed": "ignore"}
    lines: list[str] = []
    job = make_job(labels=two, train={"epochs": 2, "previews": 1, "best": "loss"})
    summary = run(job, tiles[:6], tmp_path, train=6, log=lines.append)
    assert "no validation part" in lines[0]
    assert summary["best_by"] == "train loss"
    assert read_info(tmp_path / "model").head == "binary"
    rows = read_table(tmp_path / "training" / "history.csv")
    assert all(row["val_loss"] == row["val_iou ground"] == "" for row in rows)
    assert all(float(row["iou"]) > 0 for row in rows)
    with Image.open(tmp_path / "training" / "previews" / "epoch-0002.png") as sheet:
        # Image, truth, probability, two thresholds, overlay.
        assert sheet.width == 8 + 6 * 200


def spoil(tiles, tmp_path, spoilt: dict[int, bytes]):
    """The same tiles, but some images are other files."""
    out = list(tiles)
    for number, content in spoilt.items():
        path = tmp_path / f"broken {number}.png"
        path.write_bytes(content)
        out[number] = (os.fsencode(path), tiles[number][1])
    return out


def test_unreadable_tiles_stop_the_training_by_name(tiles, tmp_path):
    whole = Path(os.fsdecode(tiles[3][0])).read_bytes()
    broken = spoil(tiles, tmp_path, {3: whole[: len(whole) // 2]})
    with pytest.raises(TooManyRejectedError, match=r"broken 3\.png: .+") as caught:
        run(make_job(), broken, tmp_path / "run")
    assert "`train.max_rejected` allows 0" in str(caught.value)
    rows = read_table(tmp_path / "run" / "training" / "rejected.csv")
    assert [(row["part"], row["tile"]) for row in rows] == [("train", "broken 3.png")]
    assert rows[0]["reason"]


def test_allowed_rejections_are_listed_once_and_survive_a_stop(tiles, tmp_path):
    broken = spoil(tiles, tmp_path, {0: b"", 7: b"no picture", TRAIN + 1: b""})
    job = make_job(train={"max_rejected": 0.2, "epochs": 2})
    summary = run(job, broken, tmp_path / "whole")
    assert summary["rejected"] == 3
    table = (tmp_path / "whole" / "training" / "rejected.csv").read_bytes()
    rows = read_table(tmp_path / "whole" / "training" / "rejected.csv")
    assert sorted((row["part"], row["tile"]) for row in rows) == [
        ("train", "broken 0.png"),
        ("train", "broken 7.png"),
        ("val", f"broken {TRAIN + 1}.png"),
    ]
    left = iter(range(3))
    with pytest.raises(Interrupted, match="epoch 1 of 2"):
        run(job, broken, tmp_path / "stopped", stop=lambda: next(left, None) is None)
    progress = json.loads((tmp_path / "stopped" / "progress.json").read_bytes())
    assert progress["note"] == "interrupted"
    assert TRAIN <= progress["done"] <= TRAIN + VAL
    assert run(job, broken, tmp_path / "stopped")["scores"] == summary["scores"]
    for name in ("history.csv", "rejected.csv"):
        assert (tmp_path / "stopped" / "training" / name).read_bytes() == (
            tmp_path / "whole" / "training" / name
        ).read_bytes()
    assert (tmp_path / "whole" / "training" / "rejected.csv").read_bytes() == table


def test_nothing_readable(tiles, tmp_path):
    broken = spoil(tiles, tmp_path, dict.fromkeys(range(2), b""))
    with pytest.raises(SegbatchError, match="Not one tile of the training part could be read"):
        run(make_job(train={"max_rejected": 5}), broken[:2], tmp_path / "run", train=2)


def test_a_training_that_diverges_says_so(tiles, tmp_path):
    with pytest.raises(SegbatchError, match="no longer a number") as caught:
        run(make_job(optimizer={"learning_rate": 1e38}), tiles, tmp_path)
    assert "optimizer.learning_rate" in str(caught.value)
    assert not list(tmp_path.rglob("checkpoint-*.npz"))


def test_no_training_tiles(tiles, tmp_path):
    with pytest.raises(InputError, match="the training part has no tiles"):
        run(make_job(), tiles, tmp_path, train=0)


def test_limits():
    assert limit_of(3, 1000) == 3
    assert limit_of(0.01, 1050) == 10
    assert limit_of(0, 10) == limit_of(0.0, 10) == 0

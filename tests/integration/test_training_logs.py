"""What a training leaves to look at: events for TensorBoard and a moving picture, over interruptions too."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import tensorflow as tf
from PIL import Image

from segbatch.errors import Interrupted
from segbatch.models.bundle import load_bundle
from segbatch.training.animation import MOST_FRAMES, write_animation
from tests.support.tiny_training import TRAIN_STEPS, make_job, make_tiles, run

pytestmark = pytest.mark.tensorflow


def events(folder: Path, part: str) -> dict[str, list[tuple[int, float]]]:
    """Tag -> (step, value), in the order in which TensorBoard would read the part's files."""
    found: dict[str, list[tuple[int, float]]] = {}
    for path in sorted((folder / "training" / "tensorboard" / part).glob("*tfevents*")):
        first, *events = tf.compat.v1.train.summary_iterator(str(path))
        assert first.file_version == "brain.Event:2"
        assert [event.wall_time for event in events] == sorted(event.wall_time for event in events)
        for event in events:
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


def history(folder: Path) -> list[dict[str, str]]:
    with (folder / "training" / "history.csv").open() as handle:
        return list(csv.DictReader(handle))


def agree(folder: Path) -> None:
    """The events hold what the history holds, each epoch once."""
    rows = history(folder)
    columns = {"loss": "loss", "accuracy": "accuracy", "mean IoU": "iou", "mean Dice": "dice"}
    for part, prefix, more in (
        ("train", "", {"learning rate": "learning_rate"}),
        ("val", "val_", {f"IoU of {name}": f"iou {name}" for name in ("ground", "box", "stripe")}),
    ):
        found = events(folder, part)
        wanted = {tag: prefix + column for tag, column in (columns | more).items()}
        assert set(found) == set(wanted)
        for tag, column in wanted.items():
            assert [step for step, _ in found[tag]] == [int(row["epoch"]) for row in rows]
            assert [value for _, value in found[tag]] == pytest.approx([float(row[column]) for row in rows], rel=1e-6)


def test_a_training_stopped_and_resumed_shows_every_epoch_once(tmp_path: Path) -> None:
    tiles = make_tiles(tmp_path / "tiles")
    job = make_job(train={"epochs": 3, "previews": 2})
    folder = tmp_path / "run"
    left = iter(range(2 * TRAIN_STEPS + 3))
    with pytest.raises(Interrupted, match="epoch 2 of 3"):
        run(job, tiles, folder, stop=lambda: next(left, None) is None)
    agree(folder)
    assert len(history(folder)) == 1
    summary = run(job, tiles, folder)
    agree(folder)
    assert len(history(folder)) == 3
    assert summary["parameters"] == load_bundle(folder / "model").model.count_params()
    with Image.open(folder / "training" / "epochs.gif") as moving:
        assert moving.n_frames == 3
        assert moving.info["loop"] == 0
        last = Image.open(folder / "training" / "previews" / "epoch-0003.png").convert("RGB")
        moving.seek(2)
        assert moving.width == min(last.width, 800)


def test_frames_of_very_many_epochs_are_thinned_and_the_last_stays(tmp_path: Path) -> None:
    previews = tmp_path / "previews"
    previews.mkdir()
    for epoch in range(1, 151):
        if epoch != 7:
            Image.new("RGB", (20, 10), (epoch, 100, 0)).save(previews / f"epoch-{epoch:04d}.png")
    assert write_animation(tmp_path / "epochs.gif", previews, 150)
    with Image.open(tmp_path / "epochs.gif") as moving:
        assert moving.n_frames <= MOST_FRAMES
        moving.seek(moving.n_frames - 1)
        assert moving.convert("RGB").getpixel((3, 3))[0] == pytest.approx(150, abs=3)


def test_without_previews_there_is_no_moving_picture(tmp_path: Path) -> None:
    assert not write_animation(tmp_path / "epochs.gif", tmp_path / "previews", 5)
    assert not (tmp_path / "epochs.gif").exists()

"""`segbatch preview`: the sheet shows the samples that training gets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from segbatch.cli import cli
from segbatch.evaluation.pictures import HATCH
from segbatch.training.augmented import READERS, described, overlaid, read_rows
from segbatch.training.feed import Feed
from tests.support.tiny_training import TRAIN, TWO, make_job, make_tiles

pytestmark = pytest.mark.tensorflow

JOB = """
kind: train
data: {images: tiles, masks: tiles, pair: {by: suffix, image_suffix: .png, mask_suffix: _mask.png}}
labels: {classes: [{id: 0, name: ground, color: '#141414'}, {id: 1, name: box, color: '#fa500a'},
  {id: 2, name: stripe, color: '#0078fa'}, {id: 9, name: void, color: '#000000', ignore: true}]}
model: {input: [32, 32], filters: 4, depth: 1}
augment: [{op: rotate, degrees: 90, p: 1}, hue]
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make_tiles(tmp_path / "tiles", 6)
    (tmp_path / "job.yaml").write_text(JOB)
    return tmp_path


def run(*arguments: str) -> tuple[int, str]:
    outcome = CliRunner().invoke(cli, ["preview", *arguments])
    return outcome.exit_code, outcome.output + (str(outcome.exception) if outcome.exception else "")


def test_a_sheet_of_tiles_and_epochs(here: Path) -> None:
    code, output = run("job.yaml", "--tiles", "3", "--columns", "2")
    assert code == 0, output
    assert output.splitlines() == [
        "3 training tiles, each as it is and as epochs 1 to 2 see it",
        str(here / "job-preview.png"),
    ]
    with Image.open(here / "job-preview.png") as sheet:
        # Three columns and three blocks of two panels of 256 pixels each.
        assert sheet.width == 8 + 3 * 264
        assert 6 * 256 < sheet.height < 6 * 256 + 300
        first = np.asarray(sheet.convert("RGB"))
    assert run("job.yaml", "--tiles", "3", "--columns", "2", "--seed", "8", "--out", "other.png")[0] == 0
    assert run("job.yaml", "--tiles", "3", "--columns", "2", "--out", "same.png")[0] == 0
    assert np.array_equal(np.asarray(Image.open("same.png").convert("RGB")), first)
    other = np.asarray(Image.open("other.png").convert("RGB"))
    assert np.array_equal(other[:, :264], first[:, :264]), "the tiles as they are"
    assert (other[:, 272:] != first[:, 272:]).mean() > 0.1


def test_what_is_shown_is_what_training_gets(tmp_path: Path) -> None:
    """To the bit: the same tile in the batches of the same epoch."""
    tiles = make_tiles(tmp_path / "tiles")[:TRAIN]
    names = [str(number) for number in range(TRAIN)]
    job = make_job(augment=[{"op": op} for op in ("flip_left_right", "rotate", "zoom", "brightness", "noise")])
    feed = Feed("train", tiles, names, job, READERS)
    rows = read_rows(job, feed, tiles=4, epochs=3)
    assert len(rows) == 4
    for epoch in range(3):
        order = [names[index] for index in feed.order(epoch)]
        batches = list(feed.batches(epoch, 0, lambda part, indices: None, job.augment))
        learned = dict(zip(order, np.concatenate([batch.image.numpy() for batch in batches]), strict=True))
        masks = dict(zip(order, np.concatenate([batch.truth.numpy() for batch in batches]), strict=True))
        for row in rows:
            assert np.array_equal(row.images[1 + epoch], learned[row.name])
            assert np.array_equal(row.truths[1 + epoch], masks[row.name])


def test_the_caption_tells_what_each_shown_phase_does() -> None:
    hue = [{"op": "hue", "p": 1}]
    flips = ["flip_left_right", {"op": "crop", "share": 0.5}]
    job = make_job(augment=hue, phases=[{"epochs": 2}, {"augment": flips, "epochs": 1}, {"augment": []}])
    assert described(job, 2) == ["hue amount 0.1 (p 1)"]
    assert described(job, 5) == [
        "epochs 1 to 2: hue amount 0.1 (p 1)",
        "epoch 3: flip_left_right (p 0.5), crop share 0.5 (p 0.5)",
        "epochs 4 to 5: none",
    ]
    assert described(make_job(augment=[]), 3) == ["no `augment`: every epoch sees the tiles as they are"]


def test_classes_lie_over_the_image_and_ignored_pixels_are_striped() -> None:
    image = np.full((8, 8, 3), 200, np.uint8)
    truth = np.repeat(np.array([0, 1, 2, 255], np.uint8), 2)[:, None].repeat(8, 1)
    found = overlaid(image, truth, make_job().labels)
    for rows, color in {0: (20, 20, 20), 2: (250, 80, 10), 4: (0, 120, 250)}.items():
        assert (found[rows : rows + 2] == np.rint((200 + np.array(color)) / 2)).all()
    assert len(np.unique(found[6:].reshape(-1, 3), axis=0)) == len(HATCH)
    assert (found[6:].mean() < 110).all()


def test_of_two_classes_only_the_second_is_painted() -> None:
    image = np.full((2, 2, 3), 200, np.uint8)
    found = overlaid(image, np.array([[0, 1], [0, 1]], np.uint8), make_job(labels=TWO | {"unclaimed": "ignore"}).labels)
    assert (found[:, 0] == 200).all()
    assert found[0, 1].tolist() == [225, 140, 105]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("job.yaml", "--out", "a.jpg"), "expected a name that ends in .png, received a.jpg"),
        (("job.yaml", "--out", "nowhere/a.png"), "nowhere/a.png cannot be written: No such file or directory."),
        (("job.yaml", "--set", "augment=medium"), "expected basic, advanced or bad"),
        (("predict.yaml",), "expected kind: train, received kind: predict"),
    ],
)
def test_what_is_refused(here: Path, arguments: tuple[str, ...], message: str) -> None:
    (here / "predict.yaml").write_text("kind: predict\nmodel: m\ndata: {images: tiles}\n")
    code, output = run(*arguments)
    assert code != 0
    assert message in output


def test_tiles_that_cannot_be_read(here: Path) -> None:
    """Are left out; where none is left, one is named with its reason."""
    images = sorted(path for path in (here / "tiles").iterdir() if "mask" not in path.name)
    images[0].write_bytes(b"no picture")
    code, output = run("job.yaml", "--tiles", "6", "--columns", "1")
    assert (code, output.splitlines()[0]) == (0, "5 training tiles, each as it is and as epoch 1 sees it")
    for path in images:
        path.write_bytes(b"no picture")
    code, output = run("job.yaml")
    assert code != 0
    assert "none of 6 training tiles can be read; of tile 00.png: " in output

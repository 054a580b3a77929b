"""`segbatch compare`: figures are those of the runs' own tables; what differs is named; needs no TensorFlow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image

from segbatch.cli import cli
from segbatch.runs.creation import create_run
from segbatch.runs.plan import make_plan
from segbatch.runs.run import Run
from segbatch.spec.job import TrainJob
from tests.support.labels import TWO_CLASSES
from tests.support.worlds import make_tiles

HEADER = "epoch,loss,accuracy,iou,dice,val_loss,val_accuracy,val_iou,val_dice,learning_rate,val_iou a,val_dice a\n"
FIRST = ["0.9,0.5,0.3,0.4,0.8,0.5,0.31,0.41", "0.5,0.6,0.5,0.6,0.6,0.7,0.55,0.65", "0.4,0.7,0.6,0.7,0.7,0.7,0.55,0.64"]
SECOND = ["0.7,0.5,0.3,0.4,0.7,0.5,0.2,0.3", "0.3,0.6,0.5,0.6,0.5,0.6,0.45,0.55"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make_tiles(tmp_path / "data", 8)
    return tmp_path


def train_run(name: str, rows: list[str], parameters: int | None = None, **sections: Any) -> Run:
    """A run as training leaves it, finished where it has a number of parameters."""
    data = {"root": "data", "images": "images", "masks": "masks"} | sections.pop("data", {})
    job = TrainJob.model_validate(
        {"kind": "train", "name": name, "data": data, "labels": TWO_CLASSES.model_dump(), "train": {"epochs": 3}}
        | sections
    )
    run = create_run(make_plan(job, Path("job.yaml").absolute(), runs_root=Path("runs").absolute()))
    folder = run.paths.training
    folder.mkdir()
    lines = [f"{epoch},{row},0.001,0.1,0.2\n" for epoch, row in enumerate(rows, 1)]
    (folder / "history.csv").write_text(HEADER + "".join(lines))
    times = [f"{epoch},{10 + epoch},1.5,3\n" for epoch in range(1, len(rows) + 1)]
    (folder / "timing.csv").write_text("epoch,train_seconds,val_seconds,tiles_per_second\n" + "".join(times))
    if parameters is not None:
        (folder / "summary.json").write_text(json.dumps({"best_epoch": 2, "parameters": parameters}))
    return run


def compare(*arguments: str) -> tuple[int, str]:
    outcome = CliRunner().invoke(cli, ["compare", *arguments])
    return outcome.exit_code, outcome.output + (str(outcome.exception) if outcome.exception else "")


def test_a_table_what_differs_and_curves(here: Path) -> None:
    one = train_run("one", FIRST, 1234567, augment=["hue"])
    two = train_run("two", SECOND, augment=[], optimizer={"learning_rate": 0.01})
    code, output = compare("one", "two")
    assert code == 0, output
    lines = output.splitlines()
    assert lines[0].split() == ["run", "best", "epoch", "loss", "accuracy", "IoU", "Dice", "parameters", "s/epoch"]
    # Of the first run's equal epochs 2 and 3 the first; seconds are the mean of learning plus validation.
    assert lines[1].split() == [
        one.label,
        "2",
        "of",
        "3",
        "0.6000",
        "0.7000*",
        "0.5500*",
        "0.6500*",
        "1,234,567",
        "13.5",
    ]
    assert lines[2].split() == [
        *(two.label, "2", "of", "3", "(2", "done)", "0.5000*", "0.6000", "0.4500", "0.5500", "-", "13.0")
    ]
    assert lines[4:] == [
        "what differs between the jobs",
        f"  {one.label}",
        "    optimizer.learning_rate: 0.001",
        "    augment: hue p=0.5 amount=0.1",
        f"  {two.label}",
        "    optimizer.learning_rate: 0.01",
        "    augment: none",
        f"curves  {here / 'compare.png'}",
    ]
    with Image.open(here / "compare.png") as picture:
        assert min(picture.size) > 600


def test_phases_count_and_one_class_may_pick_the_best(here: Path) -> None:
    run = train_run("one", FIRST, train={"epochs": 3, "best": "dice:forest"}, phases=[{}, {"epochs": 4}])
    rows = [
        f"{epoch},{row},0.001,0.1,{dice}\n"
        for epoch, (row, dice) in enumerate(zip(FIRST, (0.6, 0.2, 0.6), strict=True), 1)
    ]
    (run.paths.training / "history.csv").write_text(HEADER.replace(" a", " forest") + "".join(rows))
    code, output = compare("one")
    assert code == 0, output
    # 3 epochs and 4 are planned; of the class's equal figures 0.6 the first is the best.
    assert "1 of 7 (3 done)  0.8000" in output


def test_json_for_other_programs(here: Path) -> None:
    train_run("one", FIRST, 99)
    train_run("two", SECOND, seed=4)
    code, output = compare("one", "two", "--json")
    assert code == 0, output
    first, second = json.loads(output)
    assert first["figures"] == {"loss": 0.6, "accuracy": 0.7, "iou": 0.55, "dice": 0.65}
    assert (first["best"], first["parameters"], first["part"]) == (2, 99, "val")
    assert first["curves"]["val_iou"] == [0.31, 0.55, 0.55]
    assert (first["differs"], second["differs"]) == ({"seed": 0}, {"seed": 4})
    assert not (here / "compare.png").exists()


def test_what_limits_the_comparison_is_said(here: Path) -> None:
    train_run("one", FIRST)
    train_run("two", SECOND, data={"split": {"by": "hash"}})
    alone = train_run("alone", ["0.5,0.5,0.5,0.5,,,,", "0.4,0.6,0.6,0.6,,,,"])
    _, output = compare("one", "two", "alone", "--out", "c.png")
    assert "note: the runs were not trained and judged on the same tiles" in output
    assert f"note: without a validation part, figures are those of training: {alone.label}\n" in output
    assert "2 of 3 (2 done)  0.4000*" in output
    assert (here / "c.png").is_file()


def test_the_same_job_twice(here: Path) -> None:
    run = train_run("one", FIRST)
    code, output = compare("one", str(run.paths.folder))
    assert code == 0
    assert "what differs between the jobs: nothing" in output
    assert "note:" not in output


def test_what_is_refused(here: Path) -> None:
    started = train_run("one", [])
    (started.paths.training / "history.csv").unlink()
    assert f"{started.label} has not finished an epoch yet." in compare("one")[1]
    assert "'three': no such run" in compare("three")[1]
    broken = train_run("broken", FIRST)
    (broken.paths.training / "history.csv").write_text(HEADER + "1,x,1,1,1,1,1,1,1,1,1,1\n")
    assert "history.csv: not the history of a training" in compare("broken")[1]
    assert "expected a name that ends in .png, received a.pdf" in compare("one", "--out", "a.pdf")[1]

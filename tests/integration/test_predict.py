"""Predict runs as a user has them: masks, journals, reports, interruptions."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import confusion_matrix

from segbatch.errors import Exit
from segbatch.runs.attempts import read_attempts
from segbatch.runs.journal import read_task
from segbatch.runs.outputs import unfinished
from segbatch.runs.run import Run, open_run
from segbatch.runs.status import run_status
from tests.support.worlds import complete, green_model, make_bundle, make_run, make_tiles, mixing_model, outputs

pytestmark = pytest.mark.tensorflow

CLASSES = ["ground", "forest"]


def worker(run: Run, *which: str) -> subprocess.Popen[bytes]:
    log = run.paths.logs / "test.log"
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "segbatch.worker", str(run.paths.folder), *which], stdout=output, stderr=output
        )


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as handle:
        return list(csv.DictReader(handle))


def data(folder: Path) -> dict[str, str]:
    return {"root": str(folder), "images": "images", "masks": "masks"}


def test_masks_are_right_and_scores_are_those_of_the_written_masks(tmp_path: Path) -> None:
    make_tiles(tmp_path, 21, size=[(32, 32), (32, 32), (48, 40), (7, 90), (1, 1)])
    bundle = make_bundle(tmp_path / "model", mixing_model())
    run = make_run(tmp_path, "predict", data(tmp_path), model=str(bundle), predict={"batch_size": 4, "tasks": 3})
    assert len(run.tasks) == 3
    assert complete(run) == Exit.OK
    truth, predicted = [], []
    rows = {row["tile"]: row for row in table(run.paths.report / "tiles.csv")}
    for path in sorted((tmp_path / "masks").rglob("*.png")):
        name = str(path.relative_to(tmp_path / "masks"))
        mask = Image.open(run.paths.masks / name)
        assert mask.mode == "P"
        assert mask.size == Image.open(path).size
        one, two = np.asarray(Image.open(path)).ravel(), np.asarray(mask).ravel()
        truth.append(one)
        predicted.append(two)
        assert float(rows[name]["accuracy"]) == pytest.approx((one == two).mean(), abs=1e-6)
    matrix = confusion_matrix(np.concatenate(truth), np.concatenate(predicted), labels=[0, 1])
    found = table(run.paths.report / "confusion.csv")
    assert [[int(row[name]) for name in CLASSES] for row in found] == matrix.tolist()
    for index, row in enumerate(table(run.paths.report / "classes.csv")):
        tp = int(matrix[index, index])
        fp, fn = int(matrix[:, index].sum()) - tp, int(matrix[index].sum()) - tp
        assert (int(row["tp"]), int(row["fp"]), int(row["fn"])) == (tp, fp, fn)
        assert float(row["IoU"]) == pytest.approx(tp / (tp + fp + fn), abs=1e-6)


def test_a_known_network_gives_known_masks_at_any_size(tmp_path: Path) -> None:
    """Green against grey, computed by NumPy; by windows, since at native resolution each pixel counts."""
    make_tiles(tmp_path, 10, size=[(32, 32), (31, 33), (100, 70), (1, 1), (5, 64)])
    bundle = make_bundle(tmp_path / "model", green_model())
    settings = {"fit": "window", "window": 24, "overlap": 8, "batch_size": 4, "values": "raw", "palette": False}
    run = make_run(tmp_path, "predict", data(tmp_path), model=str(bundle), predict=settings)
    assert complete(run) == Exit.OK
    for path in (tmp_path / "masks").rglob("*.png"):
        mask = Image.open(run.paths.masks / path.relative_to(tmp_path / "masks"))
        assert mask.mode == "L"
        assert np.array_equal(np.asarray(mask), np.asarray(Image.open(path)))
    assert json.loads((run.paths.report / "summary.json").read_text())["scores"]["mean_iou"] == 1.0


def test_without_truth_there_are_class_shares(tmp_path: Path) -> None:
    make_tiles(tmp_path, 6)
    bundle = make_bundle(tmp_path / "model", green_model())
    run = make_run(
        tmp_path,
        "predict",
        {"root": str(tmp_path), "images": "images"},
        model=str(bundle),
        predict={"batch_size": 4, "probabilities": True},
    )
    assert complete(run) == Exit.OK
    for row in table(run.paths.report / "tiles.csv"):
        mask = np.asarray(Image.open(run.paths.masks / row["tile"]))
        assert float(row["share forest"]) == pytest.approx(mask.mean(), abs=1e-6)
        probability = np.asarray(Image.open(run.paths.probabilities / row["tile"]))
        assert np.array_equal(probability >= 128, mask == 1)
    assert not (run.paths.report / "confusion.csv").exists()


def spoil(folder: Path) -> dict[str, str]:
    """Add files that are no good tiles; return what their reasons must say."""
    images, masks = folder / "images", folder / "masks"
    good = (images / "a" / "tile 0000.png").read_bytes()
    bad = {
        "cut.png": (good[: len(good) // 2], "truncated"),
        "empty.jpg": (b"", "empty"),
        "text.jpg": (b"hello", "text"),
    }
    for name, (content, _) in bad.items():
        (images / name).write_bytes(content)
        (masks / name).with_suffix(".png").write_bytes((masks / "a" / "tile 0000.png").read_bytes())
    Image.new("I;16", (32, 32)).save(images / "deep.png")
    Image.new("L", (32, 32)).save(masks / "deep.png")
    Image.new("RGB", (32, 32)).save(images / "wrong size.png")
    Image.new("L", (31, 32)).save(masks / "wrong size.png")
    Image.new("RGB", (32, 32)).save(images / "odd value.png")
    Image.new("L", (32, 32), 7).save(masks / "odd value.png")
    reasons = {name: reason for name, (_, reason) in bad.items()}
    return reasons | {"deep.png": "16", "wrong size.png": "31", "odd value.png": "7"}


def test_bad_tiles_are_rejected_by_name_and_harm_nothing_else(tmp_path: Path) -> None:
    make_tiles(tmp_path / "clean", 18)
    make_tiles(tmp_path / "spoilt", 18)
    reasons = spoil(tmp_path / "spoilt")
    bundle = make_bundle(tmp_path / "model", mixing_model())
    settings = {"batch_size": 4}
    clean = make_run(tmp_path, "predict", data(tmp_path / "clean"), model=str(bundle), predict=settings)
    spoilt = make_run(tmp_path, "predict", data(tmp_path / "spoilt"), model=str(bundle), predict=settings)
    assert complete(clean) == Exit.OK
    assert complete(spoilt) == Exit.REJECTED
    rejected = {row["tile"]: row["reason"] for row in table(spoilt.paths.report / "rejected.csv")}
    assert set(rejected) == set(reasons)
    for name, part in reasons.items():
        assert part in rejected[name]
    left, right = outputs(clean), outputs(spoilt)
    same = [name for name in left if name.startswith("masks/")] + ["report/classes.csv", "report/tiles.csv"]
    assert {name: left[name] for name in same} == {name: right[name] for name in same}


def test_too_many_rejected_stops_the_task(tmp_path: Path) -> None:
    make_tiles(tmp_path, 6)
    spoil(tmp_path)
    bundle = make_bundle(tmp_path / "model", green_model())
    settings = {"batch_size": 4, "max_rejected": 2}
    run = make_run(tmp_path, "predict", data(tmp_path), model=str(bundle), predict=settings)
    assert worker(run, "--task", "0").wait() == Exit.TOO_MANY_REJECTED


def journalled(run: Run, rows: int, process: subprocess.Popen[bytes], task: int = 0) -> None:
    """Wait until the task has journalled so many tiles, or its process ended."""
    while len(read_task(run.paths.task(task))) < rows and process.poll() is None:
        time.sleep(0.002)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1])
def test_interrupted_anywhere_and_resumed_gives_the_same_bytes(tmp_path: Path, how: signal.Signals) -> None:
    count = 160
    make_tiles(tmp_path, count, size=[(96, 96), (96, 96), (96, 96), (80, 96)])
    spoil(tmp_path)
    bundle = make_bundle(tmp_path / "model", mixing_model(96))
    settings = {"batch_size": 4, "readers": 2}
    undisturbed = make_run(tmp_path, "predict", data(tmp_path), model=str(bundle), predict=settings)
    run = make_run(tmp_path, "predict", data(tmp_path), model=str(bundle), predict=settings)
    complete(undisturbed)
    chance = random.Random(how)
    interruptions = 0
    for _ in range(3 if how == signal.SIGKILL else 1):
        done = len(read_task(run.paths.task(0)))
        process = worker(run, "--task", "0")
        journalled(run, done + chance.randint(1, count // 5), process)
        os.kill(process.pid, how)
        code = process.wait()
        interruptions += code in (-signal.SIGKILL, Exit.INTERRUPTED)
    assert interruptions > 0
    kept = read_task(run.paths.task(0))
    assert 0 < len(kept) < count
    # Damage what a dying node may damage: a torn journal line, a mask that never reached the disk.
    last = run.paths.task(0).journals()[-1][1]
    with last.open("ab") as handle:
        handle.write(b"17,96,96,3")
    next(run.paths.masks.rglob("*.png")).write_bytes(b"")
    complete(run)
    assert outputs(run) == outputs(undisturbed)
    assert not list(run.paths.folder.rglob("*.tmp")) or how == signal.SIGKILL


def test_cut_anew_between_interruptions_gives_the_same_bytes(tmp_path: Path) -> None:
    make_tiles(tmp_path, 150, size=[(96, 96), (96, 96), (80, 96)])
    spoil(tmp_path)
    bundle = make_bundle(tmp_path / "model", mixing_model(96))
    settings = {"batch_size": 4, "readers": 2}
    undisturbed = make_run(tmp_path, "predict", data(tmp_path), model=str(bundle), predict=settings)
    assert complete(undisturbed) == Exit.REJECTED
    run = make_run(tmp_path, "predict", data(tmp_path), model=str(bundle), predict=settings | {"tasks": 2})
    for task, how in enumerate((signal.SIGKILL, signal.SIGTERM)):
        attempt = worker(run, "--task", str(task))
        journalled(run, 3, attempt, task)
        os.kill(attempt.pid, how)
        assert attempt.wait() in (-signal.SIGKILL, Exit.INTERRUPTED)
    command = [sys.executable, "-m", "segbatch", "resume", str(run.paths.folder), "--parallel", "1", "--wait"]
    process = subprocess.Popen([*command, "--tasks", "5"], stdout=subprocess.PIPE, text=True)
    journalled(run, 3, process, task=3)  # type: ignore[arg-type]
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate()
    assert process.returncode == Exit.INTERRUPTED
    assert "in 5 new tasks from number 2 on" in said
    run = open_run(run.paths.folder)
    assert run.current_tasks == (2, 3, 4, 5, 6)
    lost = next(run.paths.masks.rglob("*.png"))
    lost.unlink()
    status = run_status(run)
    assert 0 < status.done < status.total == run.record.tiles
    assert subprocess.run([*command, "--tasks", "3", "--verify"]).returncode == Exit.REJECTED
    run = open_run(run.paths.folder)
    assert [task for task in run.current_tasks if task > 6] == [7, 8, 9]
    status = run_status(run)
    assert (status.state, status.done, status.total) == ("done", run.record.tiles, run.record.tiles)
    assert outputs(run) == outputs(undisturbed)


def test_two_attempts_at_once_do_no_harm(tmp_path: Path) -> None:
    make_tiles(tmp_path, 60, size=(64, 64))
    bundle = make_bundle(tmp_path / "model", mixing_model(64))
    alone = make_run(tmp_path, "predict", data(tmp_path), model=str(bundle), predict={"batch_size": 4})
    both = make_run(tmp_path, "predict", data(tmp_path), model=str(bundle), predict={"batch_size": 4})
    complete(alone)
    attempts = [worker(both, "--task", "0") for _ in range(2)]
    assert [attempt.wait() for attempt in attempts] == [0, 0]
    worker(both, "--finish").wait()
    assert outputs(both) == outputs(alone)


def test_how_the_work_is_cut_up_does_not_show(tmp_path: Path) -> None:
    make_tiles(tmp_path, 30, size=[(32, 32), (40, 32)])
    bundle = make_bundle(tmp_path / "model", mixing_model())
    runs = [
        make_run(tmp_path, "predict", data(tmp_path), model=str(bundle), predict={"batch_size": 4, "tasks": tasks})
        for tasks in (1, 4)
    ]
    for run in runs:
        complete(run)
    assert outputs(runs[0]) == outputs(runs[1])


def test_a_model_that_changed_is_refused(tmp_path: Path) -> None:
    make_tiles(tmp_path, 4)
    bundle = make_bundle(tmp_path / "model", green_model())
    run = make_run(tmp_path, "predict", data(tmp_path), model=str(bundle), predict={"batch_size": 4})
    make_bundle(tmp_path / "model", mixing_model())
    assert worker(run, "--task", "0").wait() == Exit.FAILED
    assert "the model has changed since the run was submitted" in (run.paths.logs / "test.log").read_text()


def test_missing_tiles_are_named_by_the_report(tmp_path: Path) -> None:
    make_tiles(tmp_path, 12)
    bundle = make_bundle(tmp_path / "model", green_model())
    run = make_run(tmp_path, "predict", data(tmp_path), model=str(bundle), predict={"batch_size": 4, "tasks": 3})
    assert worker(run, "--task", "0").wait() == 0
    assert worker(run, "--finish").wait() == Exit.FAILED
    assert json.loads((run.paths.report / "summary.json").read_text())["tiles"]["missing"] == 8
    assert "8 of 12 tiles are missing" in (run.paths.logs / "test.log").read_text()


def test_a_notebooks_h5_file_predicts_with_the_jobs_own_labels(tmp_path: Path) -> None:
    """A sigmoid at the end, saved with its optimiser; the job says what the channels mean."""
    import keras

    from tests.support.labels import TWO_CLASSES

    make_tiles(tmp_path, 5)
    logits = green_model()
    model = keras.Model(logits.input, keras.layers.Activation("sigmoid")(logits.output))
    model.compile("adam", "binary_crossentropy")
    model.save(tmp_path / "notebook.h5")
    run = make_run(
        tmp_path,
        "predict",
        data(tmp_path),
        model=str(tmp_path / "notebook.h5"),
        labels=TWO_CLASSES.model_dump(),
        predict={"batch_size": 2},
    )
    assert complete(run) == Exit.OK
    assert json.loads((run.paths.report / "summary.json").read_text())["scores"]["accuracy"] == 1.0


def test_a_writer_that_fails_says_so_and_never_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from segbatch.inference.masks import MaskFormat

    def full(self: MaskFormat, mask: np.ndarray) -> bytes:
        raise MemoryError

    make_tiles(tmp_path, 40)
    bundle = make_bundle(tmp_path / "model", green_model())
    run = make_run(tmp_path, "predict", data(tmp_path), model=str(bundle), predict={"batch_size": 2, "writers": 2})
    monkeypatch.setattr(MaskFormat, "encode", full)
    with pytest.raises(AssertionError):
        complete(run)
    end = read_attempts(run.paths.task(0))[-1].end
    assert end is not None
    assert "out of memory" in end["message"]


def test_masks_lost_after_the_end_are_made_again_when_one_looks(tmp_path: Path) -> None:
    """A task that ended well has had its masks written to disk: only `--verify` reads them again."""
    make_tiles(tmp_path, 9)
    bundle = make_bundle(tmp_path / "model", mixing_model())
    run = make_run(tmp_path, "predict", data(tmp_path), model=str(bundle), predict={"batch_size": 4})
    assert complete(run) == Exit.OK
    before = outputs(run)
    lost, zeroed = sorted(run.paths.masks.rglob("*.png"))[:2]
    lost.unlink()
    zeroed.write_bytes(bytes(zeroed.stat().st_size))
    assert run_status(run).state != "running"
    command = [sys.executable, "-m", "segbatch", "resume", str(run.paths.folder), "--wait"]
    assert unfinished(run) == []
    said = subprocess.run([*command, "--verify"], stdout=subprocess.PIPE, text=True)
    assert (said.returncode, "2 masks" in said.stdout) == (Exit.OK, True)
    assert outputs(run) == before

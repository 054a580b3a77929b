"""The local backend from the command line: start, watch, stop, go on; with jobs that need no TensorFlow."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segbatch.runs.attempts import read_attempts
from segbatch.runs.run import Run, find_run
from segbatch.runs.status import run_status
from tests.support.waiting import WAIT_S, until
from tests.support.worlds import make_tiles, write_job

LABELS = {"name": "two", "classes": [{"id": 0, "name": "ground"}, {"id": 1, "name": "forest"}]}


def segbatch(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "segbatch", *arguments], cwd=cwd, capture_output=True, text=True, timeout=WAIT_S
    )


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """An evaluate job whose predictions are the truth itself."""
    make_tiles(tmp_path / "data", 12, size=(16, 16))
    (tmp_path / "data" / "predicted").symlink_to("masks")
    data = {"root": "data", "images": "images", "masks": "masks", "predictions": {"folder": "predicted"}}
    classes = [item | {"color": "#102030"} for item in LABELS["classes"]]  # type: ignore[operator]
    return write_job(tmp_path / "score.yaml", kind="evaluate", labels=LABELS | {"classes": classes}, data=data)


def newest(folder: Path) -> Run:
    return find_run("score", folder / "runs")


def test_submit_and_wait_prints_scores_and_the_report(job: Path) -> None:
    outcome = segbatch(job.parent, "submit", job.name, "--wait")
    assert outcome.returncode == 0, outcome.stderr
    assert "mean IoU 1.0000" in outcome.stdout
    report = outcome.stdout.split("report ")[-1].strip()
    assert Path(report).read_text().startswith("<!doctype html>".upper()) or "<html" in Path(report).read_text()


def test_a_run_goes_on_without_its_terminal(job: Path) -> None:
    """Started from a terminal that closes at once: the run ends all the same."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(job.parent)
        os.execv(sys.executable, [sys.executable, "-m", "segbatch", "submit", job.name])
    until(lambda: (job.parent / "runs").is_dir() and bool(list((job.parent / "runs").rglob("submissions.jsonl"))))
    os.close(terminal)
    os.waitpid(pid, 0)
    until(lambda: run_status(newest(job.parent)).state == "done")


def test_status_logs_runs_and_report_from_anywhere(job: Path, tmp_path: Path) -> None:
    assert segbatch(job.parent, "submit", job.name, "--wait").returncode == 0
    run = newest(job.parent)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    status = json.loads(segbatch(elsewhere, "status", str(run.paths.folder), "--json").stdout)
    assert (status["state"], status["done"], status["total"], status["code"]) == ("done", 12, 12, 0)
    assert "exit 0" in segbatch(elsewhere, "logs", str(run.paths.folder), "0").stdout
    assert run.label in segbatch(elsewhere, "runs", str(job.parent / "runs")).stdout
    assert "mean IoU" in segbatch(elsewhere, "report", str(run.paths.folder)).stdout
    assert segbatch(job.parent, "status", "score").returncode == 0
    rebuilt = segbatch(job.parent, "report", "score", "--rebuild")
    assert rebuilt.returncode == 0


def test_rejected_tiles_show_in_the_exit_code(job: Path) -> None:
    (job.parent / "data" / "masks" / "a" / "tile 0000.png").write_bytes(b"no picture")
    outcome = segbatch(job.parent, "submit", job.name, "--wait")
    assert outcome.returncode == 3
    rejected = (newest(job.parent).paths.report / "rejected.csv").read_text()
    assert "a/tile 0000.png" in rejected


def slow(job: Path) -> Path:
    """The same job over so many tiles that one can act while it runs."""
    make_tiles(job.parent / "data", 3000, size=(16, 16))
    return job


@pytest.mark.parametrize("stop", ["cancel", "interrupt", "hang up", "kill"])
def test_stopped_and_resumed_ends_complete(job: Path, stop: str) -> None:
    slow(job)
    waiting = ["--wait"] if stop in ("interrupt", "hang up") else []
    process = subprocess.Popen(
        [sys.executable, "-m", "segbatch", "submit", job.name, *waiting], cwd=job.parent, start_new_session=True
    )
    until(lambda: (job.parent / "runs/score/latest/run.json").exists())
    run = newest(job.parent)
    until(lambda: len(read_attempts(run.paths.task(0))) == 1)
    worker = read_attempts(run.paths.task(0))[0].start["pid"]
    # Held, so that it is at work however long a command takes.
    os.kill(worker, signal.SIGSTOP)
    if stop == "cancel":
        process.wait()
        assert "finish the batch" in segbatch(job.parent, "cancel", "score").stdout
        os.kill(worker, signal.SIGCONT)
    elif stop == "kill":
        process.wait()
        runner = json.loads(run.paths.ledger.read_text().splitlines()[0])["pid"]
        os.kill(runner, signal.SIGKILL)
        os.kill(worker, signal.SIGKILL)
    else:
        os.kill(process.pid, signal.SIGINT if stop == "interrupt" else signal.SIGHUP)
        os.kill(worker, signal.SIGCONT)
        assert process.wait() == 85
    until(lambda: run_status(run).over)
    status = run_status(run)
    assert status.state in ("cancelled", "killed", "interrupted", "done"), status
    if status.state != "done":
        assert "segbatch resume" in status.hint
    outcome = segbatch(job.parent, "resume", "score", "--wait")
    assert outcome.returncode == 0, outcome.stderr
    assert run_status(run).state == "done"
    assert json.loads((run.paths.report / "summary.json").read_text())["tiles"]["done"] == 3000
    assert "nothing to resume" in segbatch(job.parent, "resume", "score").stdout


def test_what_is_missing_is_cut_anew(job: Path) -> None:
    """Two bad masks among twelve: twice as many tasks as tiles to do are asked for, over and over."""
    masks = job.parent / "data" / "masks"
    good = {name: (masks / name).read_bytes() for name in ("a/tile 0000.png", "c/tile 0011.png")}
    for name in good:
        (masks / name).write_bytes(b"no picture")
    assert segbatch(job.parent, "submit", job.name, "--wait").returncode == 3
    again = segbatch(job.parent, "resume", "score", "--tasks", "4", "--wait")
    assert again.returncode == 3
    assert "2 tiles to do, in 2 new tasks from number 1 on" in again.stdout
    assert "not 4 tasks: there are only 2 tiles to do" in again.stderr
    for name, content in good.items():
        (masks / name).write_bytes(content)
    assert segbatch(job.parent, "resume", "score", "--tasks", "1", "--wait").returncode == 0
    status = json.loads(segbatch(job.parent, "status", "score", "--json").stdout)
    assert [task["name"] for task in status["tasks"]] == ["3"]
    assert (status["state"], status["done"], status["total"]) == ("done", 12, 12)
    assert "nothing to resume" in segbatch(job.parent, "resume", "score", "--tasks", "3").stdout
    assert "exit 0" in segbatch(job.parent, "logs", "score", "0").stdout


def test_what_changed_after_the_end_is_done_again_on_resume(job: Path) -> None:
    """A journal row speaks of files; when they change, it no longer counts."""
    assert segbatch(job.parent, "submit", job.name, "--wait").returncode == 0
    run = newest(job.parent)
    mask = job.parent / "data" / "masks" / "b" / "tile 0001.png"
    prediction = job.parent / "predictions" / "b" / "tile 0001.png"
    shutil.copytree(mask.parent.parent, prediction.parent.parent)
    (job.parent / "data" / "predicted").unlink()
    (job.parent / "data" / "predicted").symlink_to(job.parent / "predictions")
    Image.new("L", (16, 16), 0).save(prediction)
    assert segbatch(job.parent, "report", "score", "--rebuild").returncode == 1
    assert segbatch(job.parent, "resume", "score", "--wait").returncode == 0
    scores = json.loads((run.paths.report / "summary.json").read_text())["scores"]
    share = (np.asarray(Image.open(mask)) == 1).mean()
    assert scores["accuracy"] == pytest.approx(1 - share / 12, abs=1e-6)


def test_rejected_tiles_are_tried_again_on_resume(job: Path) -> None:
    mask = job.parent / "data" / "masks" / "a" / "tile 0000.png"
    good = mask.read_bytes()
    mask.write_bytes(b"no picture")
    assert segbatch(job.parent, "submit", job.name, "--wait").returncode == 3
    assert segbatch(job.parent, "resume", "score", "--wait").returncode == 3
    mask.write_bytes(good)
    assert segbatch(job.parent, "resume", "score", "--wait").returncode == 0
    assert (newest(job.parent).paths.report / "rejected.csv").read_text() == "tile,reason\n"


def test_a_run_on_another_machine_is_left_alone(job: Path) -> None:
    assert segbatch(job.parent, "submit", job.name, "--wait").returncode == 0
    ledger = newest(job.parent).paths.ledger
    line = json.loads(ledger.read_text().splitlines()[0])
    ledger.write_text(json.dumps(line | {"host": "node-x"}) + "\n")
    for command in ("resume", "cancel"):
        refused = segbatch(job.parent, command, "score")
        assert refused.returncode == 1
        assert "node-x" in refused.stderr
    assert "another machine" in segbatch(job.parent, "status", "score", "--watch").stdout
    assert segbatch(job.parent, "resume", "score", "--force", "--wait").returncode == 0


def test_a_file_named_like_a_module_does_no_harm(job: Path) -> None:
    (job.parent / "queue.py").write_text("raise RuntimeError")
    shown = subprocess.run(
        [Path(sys.executable).with_name("segbatch"), "submit", job.name, "--wait"],
        cwd=job.parent,
        capture_output=True,
        text=True,
    )
    assert shown.returncode == 0, shown.stderr


def test_a_damaged_run_does_not_hide_the_others(job: Path) -> None:
    assert segbatch(job.parent, "submit", job.name, "--wait").returncode == 0
    other = job.parent / "runs" / "other" / "20260101-000000-0000"
    other.mkdir(parents=True)
    (other / "run.json").write_text("{}")
    listed = segbatch(job.parent, "runs")
    assert listed.returncode == 0
    assert newest(job.parent).label in listed.stdout
    assert str(other) in listed.stderr


def test_a_run_is_not_started_twice(job: Path) -> None:
    slow(job)
    assert segbatch(job.parent, "submit", job.name).returncode == 0
    for more in ([], ["--tasks", "3"]):
        again = segbatch(job.parent, "resume", "score", *more)
        if run_status(newest(job.parent)).state == "running":
            assert again.returncode == 1
            assert "runs already" in again.stderr
    segbatch(job.parent, "cancel", "score")
    until(lambda: run_status(newest(job.parent)).state != "running")


def test_dry_run_and_errors_write_nothing(job: Path) -> None:
    assert segbatch(job.parent, "submit", job.name, "--dry-run").returncode == 0
    refused = segbatch(job.parent, "submit", job.name, "--set", "data.mask=x")
    assert refused.returncode == 2
    assert "Did you mean 'masks'?" in refused.stderr
    assert "Traceback" not in refused.stderr
    missing = segbatch(job.parent, "submit", job.name, "--set", "data.masks=nowhere")
    assert missing.returncode == 2
    assert "is no folder" in missing.stderr
    assert not (job.parent / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["status"], "no runs in"),
        (["status", "nothing"], "no such run"),
        (["statu"], "Did you mean 'status'?"),
        (["submit", "nothing.yaml"], "nothing.yaml"),
        (["submit"], "Missing argument"),
    ],
)
def test_a_wrong_command_gets_one_message(tmp_path: Path, arguments: list[str], message: str) -> None:
    outcome = segbatch(tmp_path, *arguments)
    assert outcome.returncode == 2
    assert message in outcome.stderr
    assert "Traceback" not in outcome.stderr

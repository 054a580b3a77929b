"""Pipelines from the command line, on this machine; with jobs that need no TensorFlow."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.labels import TWO_CLASSES
from tests.support.waiting import WAIT_S, until
from tests.support.worlds import make_tiles


def segbatch(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "segbatch", *arguments],
        cwd=cwd,
        env={**os.environ, "COLUMNS": "200", "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
    )


def evaluate(**more: Any) -> dict[str, Any]:
    """The keys of an evaluate job."""
    data = {"root": "data", "images": "images", "masks": "masks", "predictions": {"folder": "predicted"}}
    return {
        "kind": "evaluate",
        "labels": TWO_CLASSES.model_dump(mode="json", exclude_defaults=True),
        "data": data,
    } | more


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with tiles, and predictions that are the truth itself."""
    make_tiles(tmp_path / "data", 6, size=(16, 16))
    (tmp_path / "data" / "predicted").symlink_to("masks")
    return tmp_path


def write(folder: Path, stages: dict[str, Any], **more: Any) -> None:
    (folder / "night.yaml").write_text(yaml.safe_dump({"kind": "pipeline", "stages": stages} | more, sort_keys=False))


def states(folder: Path) -> dict[str, str]:
    found = json.loads(segbatch(folder, "status", "night", "--json").stdout)
    return {stage["name"]: stage["state"] for stage in found["stages"]} | {"": found["state"]}


def test_stages_run_in_the_order_of_their_needs_in_one_folder(folder: Path) -> None:
    (folder / "score.yaml").write_text(yaml.safe_dump(evaluate()))
    write(folder, {"last": {"job": "score.yaml", "needs": "first"}, "first": {"job": evaluate(seed=3)}})
    outcome = segbatch(folder, "submit", "night.yaml", "--wait")
    assert outcome.returncode == 0, outcome.stderr
    run = (folder / "runs" / "night" / "latest").resolve()
    assert {path.name for path in (run / "stages").iterdir()} == {"first", "last"}
    assert states(folder) == {"first": "done", "last": "done", "": "done"}
    ends = {name: (run / "stages" / name / "report" / "summary.json").stat().st_mtime_ns for name in ("first", "last")}
    assert ends["first"] < ends["last"]
    assert yaml.safe_load((run / "stages" / "first" / "job.yaml").read_text())["seed"] == 3
    assert "nothing to resume" in segbatch(folder, "resume", "night").stdout


def test_a_failed_stage_holds_up_what_needs_it_and_resume_starts_there(folder: Path) -> None:
    shutil.move(folder / "data" / "masks" / "a", folder / "aside")
    stages = {
        "good": {"job": evaluate()},
        "bad": {"job": evaluate(), "needs": "good"},
        "after": {"job": evaluate(), "needs": "bad"},
        "far": {"job": evaluate(), "needs": "after"},
    }
    write(folder, stages)
    # The second stage finds no tiles, since what it reads is gone before its turn.
    stages["bad"]["job"]["data"] = stages["bad"]["job"]["data"] | {"images": "later"}
    write(folder, stages)
    outcome = segbatch(folder, "submit", "night.yaml", "--wait")
    assert outcome.returncode == 2, outcome.stdout + outcome.stderr
    assert states(folder) == {"good": "done", "bad": "refused", "after": "cancelled", "far": "cancelled", "": "failed"}
    shown = segbatch(folder, "status", "night").stdout
    assert "needs bad, which was refused" in shown
    first = folder / "runs/night/latest/stages/good/report/summary.json"
    before = first.stat().st_mtime_ns
    (folder / "data" / "later").symlink_to("images")
    outcome = segbatch(folder, "resume", "night", "--wait")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert set(states(folder).values()) == {"done"}
    assert first.stat().st_mtime_ns == before


def test_it_goes_on_without_the_terminal_and_can_be_cancelled_and_resumed(folder: Path) -> None:
    write(folder, {name: {"job": evaluate(), "needs": needs} for name, needs in (("a", []), ("b", "a"), ("c", "b"))})
    assert segbatch(folder, "submit", "night.yaml").returncode == 0
    assert segbatch(folder, "cancel", "night", "--now").returncode == 0
    until(lambda: states(folder)[""] not in ("running", "queued"))
    assert states(folder)[""] in ("cancelled", "done")
    segbatch(folder, "resume", "night")
    until(lambda: states(folder)[""] == "done")


def test_a_driver_that_was_killed_is_noticed_and_resume_goes_on(folder: Path) -> None:
    write(folder, {name: {"job": evaluate(), "needs": needs} for name, needs in (("a", []), ("b", "a"), ("c", "b"))})
    segbatch(folder, "submit", "night.yaml")
    ledger = folder / "runs/night/latest/submissions.jsonl"
    driver = json.loads(ledger.read_text().splitlines()[0])["pid"]
    os.kill(driver, signal.SIGKILL)
    until(lambda: states(folder)[""] not in ("running", "queued"))
    assert states(folder)[""] != "done"
    outcome = segbatch(folder, "resume", "night", "--wait", "--force")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert set(states(folder).values()) == {"done"}


def test_a_plan_shows_the_stages_and_writes_nothing(folder: Path) -> None:
    write(folder, {"first": {"job": evaluate()}, "second": {"job": evaluate(), "needs": "first"}})
    shown = segbatch(folder, "submit", "night.yaml", "--dry-run").stdout
    assert "first" in shown
    assert "second" in shown
    assert not (folder / "runs").exists()
    assert "a valid pipeline of 2 stages" in segbatch(folder, "check", "night.yaml").stdout

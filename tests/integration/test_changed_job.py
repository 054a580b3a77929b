"""A run whose job was changed by hand: `resume` refuses and names what, and goes on when forced."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from segbatch.runs.run import find_run
from tests.support.worlds import make_tiles, write_job

pytestmark = pytest.mark.tensorflow

LABELS = {
    "name": "two",
    "classes": [{"id": 0, "name": "ground", "color": "#102030"}, {"id": 1, "name": "forest", "color": "#108030"}],
}


def segbatch(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "segbatch", *words], cwd=folder, capture_output=True, text=True)


def test_epochs_raised_by_hand(tmp_path: Path) -> None:
    make_tiles(tmp_path / "data", 12)
    write_job(
        tmp_path / "short.yaml",
        kind="train",
        labels=LABELS,
        data={"root": "data", "images": "images", "masks": "masks"},
        model={"input": [32, 32], "filters": 4, "depth": 1},
        train={"epochs": 1, "batch_size": 4, "previews": 0},
        resources={"memory": 1800, "cpus": 1},
    )
    assert segbatch(tmp_path, "submit", "short.yaml", "--backend", "local", "--wait").returncode == 0
    run = find_run("short", tmp_path / "runs")
    job = yaml.safe_load(run.paths.job.read_text())
    job["train"]["epochs"] = 2
    run.paths.job.write_text(yaml.safe_dump(job))
    # A finished run is not begun again by itself.
    assert "nothing to resume" in segbatch(tmp_path, "resume", "short", "--wait").stdout
    # As after a loss of the bundle: now there is something to do, and the worker refuses.
    (run.paths.model / "bundle.json").unlink()
    outcome = segbatch(tmp_path, "resume", "short", "--wait")
    assert outcome.returncode == 2, outcome.stdout
    log = run.paths.log(0).read_text()
    assert "train.epochs was 1, is 2" in log
    outcome = segbatch(tmp_path, "resume", "short", "--wait", "--force")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert "going on although the job was changed: train.epochs was 1, is 2" in run.paths.log(0).read_text()
    assert json.loads((run.paths.training / "summary.json").read_bytes())["epochs"] == 2
    assert not run.paths.forced.exists()


def test_a_finished_training_is_gone_on_with_when_forced(tmp_path: Path) -> None:
    """What `--force` was said of is the job as it was then, not a later change."""
    from segbatch.runs.forcing import force, forced
    from tests.support.worlds import make_run

    make_tiles(tmp_path / "data", 4)
    run = make_run(
        tmp_path, "train", {"root": str(tmp_path / "data"), "images": "images", "masks": "masks"}, labels=LABELS
    )
    assert not forced(run)
    force(run)
    assert forced(run)
    run.paths.job.write_text(run.paths.job.read_text() + "seed: 9\n")
    assert not forced(run)

"""Several devices and several processes: the same figures as one, nothing read twice, and an end that is clean."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segbatch.training.checkpoint import read_arrays
from tests.support.ports import port_block
from tests.support.tiny_training import make_tiles

pytestmark = pytest.mark.tensorflow

WAIT_S = 240
JOB: dict[str, Any] = {
    "model": {"dropout": 0.0},
    "train": {"epochs": 2},
    "optimizer": {"name": "sgd", "learning_rate": 0.02, "momentum": 0.9, "ema": 0.9, "clip": {"global_norm": 1.0}},
}


@pytest.fixture(scope="module")
def tiles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiles")
    make_tiles(folder)
    return folder


def start(tiles: Path, folder: Path, processes: int = 1, **options: Any) -> list[subprocess.Popen[str]]:
    """Start the processes of a training; an option that is a list has a value for each."""
    with port_block() as first:
        workers = [f"localhost:{first + rank}" for rank in range(processes)]
    started = []
    for rank in range(processes):
        values = ({"job": JOB} | options).items()
        own = {key: value[rank] if isinstance(value, list) else value for key, value in values}
        environ = dict(os.environ)
        if processes > 1:
            task = {"type": "worker", "index": rank}
            environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": workers}, "task": task})
        command = [sys.executable, "-m", "tests.support.joint_training", str(tiles), str(folder), json.dumps(own)]
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, env=environ, stdout=pipe, stderr=subprocess.STDOUT, text=True))
    return started


def ended(processes: list[subprocess.Popen[str]]) -> tuple[list[int], list[str]]:
    """Exit codes and what was said."""
    said = [process.communicate(timeout=WAIT_S)[0] for process in processes]
    return [process.returncode for process in processes], said


def figures(folder: Path) -> np.ndarray:
    with (folder / "training" / "history.csv").open(newline="") as handle:
        rows = list(csv.reader(handle))[1:]
    return np.array([[float(cell) if cell else np.nan for cell in row] for row in rows])


def weights(folder: Path) -> list[np.ndarray]:
    return read_arrays(sorted((folder / "training" / "checkpoints").glob("checkpoint-*"))[-1])[0]


def assert_same(one: Path, other: Path, tolerance: float = 2e-4) -> None:
    np.testing.assert_allclose(figures(one), figures(other), rtol=10 * tolerance, atol=tolerance)
    for a, b in zip(weights(one), weights(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=10 * tolerance, atol=tolerance)


@pytest.fixture(scope="module")
def alone(tiles, tmp_path_factory):
    """The same training on two devices of one process."""
    folder = tmp_path_factory.mktemp("alone")
    codes, said = ended(start(tiles, folder, replicas=2))
    assert codes == [0], said
    return folder


def test_gradients_of_two_devices_are_those_of_one(repo):
    command = [sys.executable, "-m", "tests.support.replica_gradients"]
    done = subprocess.run(command, cwd=repo, capture_output=True, text=True, timeout=WAIT_S, check=True)
    worst = json.loads(done.stdout.splitlines()[-1])
    assert set(worst) == {"normalised", "in parts", "Dice"}
    assert all(difference < 1e-3 for difference in worst.values()), worst


def test_a_training_on_two_devices_is_about_that_on_one(tiles, alone, tmp_path):
    """Normalisation computes its variance in another way over devices, and the rounding grows from step to step."""
    codes, said = ended(start(tiles, tmp_path))
    assert codes == [0], said
    assert_same(tmp_path, alone, 1e-2)


def test_two_processes_equal_one_and_only_the_first_writes(tiles, alone, tmp_path):
    """Batches of 4, 4 and 3 tiles with batch normalisation: every sample once, statistics of the whole batch."""
    codes, said = ended(start(tiles, tmp_path, processes=2))
    assert codes == [0, 0], said
    assert_same(tmp_path, alone)
    assert "training finished" in said[0]
    assert "epoch" not in said[1]
    summaries = [json.loads((folder / "training" / "summary.json").read_bytes()) for folder in (tmp_path, alone)]
    assert summaries[0]["best_epoch"] == summaries[1]["best_epoch"]
    assert (tmp_path / "model" / "bundle.json").exists()


def test_one_is_killed_the_other_ends_and_the_next_attempt_goes_on(tiles, alone, tmp_path):
    job = JOB | {"train": {"epochs": 2, "checkpoint_minutes": 1e-9}}
    processes = start(tiles, tmp_path, processes=2, job=job, kill_at=[None, 3])
    processes[1].wait(timeout=WAIT_S)
    died = time.monotonic()
    codes, said = ended(processes)
    assert codes == [1, -signal.SIGKILL], said
    assert time.monotonic() - died < 30
    assert "Another process of this training is gone" in said[0]
    codes, said = ended(start(tiles, tmp_path, processes=2, job=job))
    assert codes == [0, 0], said
    assert "going on in epoch 1 of 2, after 8 of 11 tiles" in said[0]
    assert_same(tmp_path, alone)


def test_a_stop_that_one_hears_stops_all_at_the_same_step(tiles, alone, tmp_path):
    codes, said = ended(start(tiles, tmp_path, processes=2, stop_at=[None, 2]))
    assert codes == [85, 85], said
    assert "after 8 of 11 tiles" in said[0]
    # One process may go on with what two began.
    codes, said = ended(start(tiles, tmp_path, replicas=2))
    assert codes == [0], said
    assert_same(tmp_path, alone)


def test_tiles_that_one_process_cannot_read_are_told_by_all(tiles, tmp_path):
    job = JOB | {"train": {"epochs": 1, "max_rejected": 1}}
    codes, said = ended(start(tiles, tmp_path, processes=2, job=job, spoil=4))
    assert codes == [0, 0], said
    table = (tmp_path / "training" / "rejected.csv").read_text()
    assert table.splitlines()[1].startswith("train,broken.png,")
    summary = json.loads((tmp_path / "training" / "summary.json").read_bytes())
    assert summary["rejected"] == 1

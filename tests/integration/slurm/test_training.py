"""A training on two nodes of a real SLURM: undisturbed, and with one of its processes killed."""

from __future__ import annotations

import csv
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from segbatch.runs.arrays import read_arrays
from segbatch.runs.attempts import read_attempts
from tests.integration.slurm.world import LABELS, User
from tests.support.slurm_cluster import SlurmCluster
from tests.support.worlds import make_tiles, write_job

pytestmark = pytest.mark.tensorflow

TILES = 20


@pytest.fixture
def user(slurm: SlurmCluster, tmp_path: Path, repo: Path, monkeypatch: pytest.MonkeyPatch) -> User:
    made = User(slurm, tmp_path)
    # The cluster starts with a bare environment, and jobs do not have that of whoever submits them.
    monkeypatch.setenv("PYTHONPATH", str(repo))
    made.checkout(repo)
    return made


def train(user: User, nodes: int, epochs: int, name: str) -> str:
    """Write a train job over some tiles; its name."""
    make_tiles(user.folder / "data", TILES)
    write_job(
        user.folder / f"{name}.yaml",
        kind="train",
        labels=LABELS,
        data={
            "root": "data",
            "images": "images",
            "masks": "masks",
            "split": {"by": "counts", "counts": {"train": 14, "val": 6}},
        },
        model={"input": [32, 32], "filters": 4, "depth": 1},
        optimizer={"name": "sgd", "learning_rate": 0.05, "momentum": 0.9},
        train={"epochs": epochs, "batch_size": 4, "previews": 0, "readers": 1, "checkpoint_minutes": 0.001},
        resources={"nodes": nodes, "memory": 1800, "cpus": 1, "time": 10},
    )
    return name


def history(user: User, name: str) -> np.ndarray:
    with (user.run(name).paths.training / "history.csv").open(newline="") as handle:
        return np.array([[float(cell or "nan") for cell in row] for row in list(csv.reader(handle))[1:]])


def attempt_log(user: User, name: str) -> Path:
    """The training's log; the finishing job has one beside it."""
    paths = user.run(name).paths
    return paths.logs / read_arrays(paths).logs(0)[-1]


def test_two_nodes_train_as_one_does(user: User) -> None:
    user.type("submit", f"{train(user, 1, 2, 'one')}.yaml", "--backend", "local", "--wait")
    user.type("submit", f"{train(user, 2, 2, 'two')}.yaml", "--backend", "slurm")
    found = user.over("two", timeout=300)
    assert (found["state"], found["code"]) == ("done", 0), found
    np.testing.assert_allclose(history(user, "two"), history(user, "one"), rtol=2e-3, atol=2e-4)
    log = attempt_log(user, "two").read_text()
    assert "process 1 of 2" in log
    assert "process 2 of 2" in log
    assert len(read_attempts(user.run("two").paths.task(0))) == 1


def helper(run: Path) -> int | None:
    """The second node's process of a run."""
    for folder in Path("/proc").iterdir():
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            rank = b"SLURM_PROCID=1" in (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if rank and b"segbatch.worker" in words and os.fsencode(run) in words:
            return int(folder.name)
    return None


def test_a_killed_process_ends_the_attempt_and_the_next_goes_on(user: User) -> None:
    user.type("submit", f"{train(user, 2, 300, 'long')}.yaml", "--backend", "slurm")
    paths = user.run("long").paths
    checkpoints = paths.training / "checkpoints"
    user.slurm.wait_for(lambda: len(list(checkpoints.glob("checkpoint-*.npz"))) >= 2, 200, "checkpoints")
    second = helper(paths.folder)
    assert second is not None
    os.kill(second, signal.SIGKILL)
    log = attempt_log(user, "long")
    user.slurm.wait_for(lambda: "going on in epoch" in log.read_text(), 200, "a second attempt that goes on")
    assert len(read_attempts(paths.task(0))) == 2
    assert user.status("long")["state"] == "running"
    user.type("cancel", "long")
    found = user.over("long", timeout=120)
    assert found["state"] in ("cancelled", "interrupted"), found
    assert "Stopped in epoch" in log.read_text()

"""Nights of retraining on a real SLURM: data grows, the challenger wins and loses, a stage is killed and resumed."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml

from segbatch.runs.attempts import read_attempts
from segbatch.runs.pipelines import find_pipeline
from tests.integration.slurm.world import LABELS, User
from tests.support.slurm_cluster import SlurmCluster
from tests.support.worlds import make_tiles

pytestmark = pytest.mark.tensorflow
SIDE = 32


@pytest.fixture
def user(slurm: SlurmCluster, tmp_path: Path, repo: Path) -> User:
    made = User(slurm, tmp_path)
    made.checkout(repo)
    make_tiles(tmp_path / "data", 16, size=(SIDE, SIDE))
    make_tiles(tmp_path / "data" / "holdout", 12, size=(SIDE, SIDE), seed=9)
    return made


def pipeline(user: User) -> str:
    resources = {"memory": 1800, "cpus": 1, "time": 10}
    root = str(user.folder / "data")
    data = {"root": root, "images": "images", "masks": "masks"}
    split = {"by": "hash", "fractions": {"train": 0.7, "val": 0.3}}
    train = {
        "kind": "train",
        "data": data | {"new_since": "last", "split": split},
        "labels": LABELS,
        "model": {"input": [SIDE, SIDE], "filters": 4, "depth": 1},
        "optimizer": {"learning_rate": 0.01},
        "train": {"epochs": 2, "batch_size": 4, "previews": 0, "readers": 1, "start_from": "forest@champion"},
        "retries": {"failures": 0},
        "resources": resources,
    }
    holdout = data | {"root": f"{root}/holdout"}
    model = "${stages.train.bundle}"
    gate = {"kind": "gate", "model": "forest", "challenger": "${stages.holdout.run}", "resources": resources}
    stages = {
        "train": {"job": train},
        "holdout": {"job": {"kind": "predict", "model": model, "data": holdout, "resources": resources}},
        "gate": {"job": gate | {"gate": {"confidence": 0.8, "max_class_loss": 1}}},
    }
    path = user.folder / "nightly.yaml"
    path.write_text(yaml.safe_dump({"kind": "pipeline", "stages": stages}, sort_keys=False))
    return path.name


def grow(user: User, night: int) -> None:
    """Add tiles of another night."""
    made = make_tiles(user.folder / f"night {night}", 6, size=(SIDE, SIDE), seed=night)
    for kind in ("images", "masks"):
        shutil.copytree(made / kind, user.folder / "data" / kind / f"night {night}")


def states(found: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["state"] for each in found["stages"]}


def models(user: User) -> dict[str, Any]:
    found: list[dict[str, Any]] = json.loads(user.type("models", "list", "--json"))
    return found[0]


def kill_training(user: User) -> None:
    """Kill the worker of the newest night's training, as a node that runs out of memory would."""
    found = find_pipeline("nightly", user.folder / "runs")
    assert found is not None
    attempts = found.paths.folder / "stages" / "train" / "tasks" / "0"
    user.slurm.wait_for(lambda: (attempts / "attempts.jsonl").exists(), 120, "the start of the training")
    run = found.stage("train")
    assert run is not None
    os.kill(int(read_attempts(run.paths.task(0))[-1].start["pid"]), signal.SIGKILL)


def test_nights(user: User) -> None:
    file = pipeline(user)
    user.type("submit", file, "--backend", "slurm")
    first = user.over("nightly", timeout=400)
    assert (first["state"], first["code"]) == ("done", 0), first
    assert states(first)["gate-champion"] == "unneeded"
    champion = models(user)["champion"]
    assert champion

    again = user.type("submit", file, "--backend", "slurm")
    assert "nothing to do" in again
    assert set(states(user.status("nightly")).values()) == {"skipped"}

    grow(user, 2)
    user.type("submit", file, "--backend", "slurm")
    kill_training(user)
    killed = user.over("nightly", timeout=200)
    assert killed["state"] in ("failed", "killed"), killed
    assert states(killed)["gate"] == "cancelled"
    user.type("resume", "nightly")
    second = user.over("nightly", timeout=400)
    assert (second["state"], second["code"]) == ("done", 0), second
    assert states(second)["gate-champion"] == "unneeded"
    found = models(user)
    assert found["champion"] == found["versions"][0]["version"] != champion
    assert found["versions"][0]["parent"] == f"forest@{champion}"

    grow(user, 3)
    user.type("submit", file, "--backend", "slurm", "--set", "stages.gate.job.gate.min_gain=0.9")
    third = user.over("nightly", timeout=400)
    assert (third["state"], third["code"]) == ("done", 0), third
    assert "stays the champion" in user.type("status", "nightly")
    assert (models(user)["champion"], len(models(user)["versions"])) == (found["champion"], 3)

"""Pipelines on a real SLURM, whose stages need no TensorFlow."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.slurm.world import LABELS, User
from tests.support.slurm_cluster import SlurmCluster
from tests.support.worlds import make_tiles


@pytest.fixture
def user(slurm: SlurmCluster, tmp_path: Path, repo: Path) -> User:
    made = User(slurm, tmp_path)
    # What starts on a node has no environment of this checkout.
    program = tmp_path / "python here"
    program.write_text(f'#!/bin/bash\nexport PYTHONPATH={shlex.quote(str(repo))}\nexec {sys.executable} "$@"\n')
    program.chmod(0o755)
    made.site(python=str(program))
    make_tiles(tmp_path / "data", 6, size=(16, 16))
    (tmp_path / "data" / "predicted").symlink_to("masks")
    return made


def stage(user: User, *needs: str, images: str = "images") -> dict[str, Any]:
    data = {
        "root": str(user.folder / "data"),
        "images": images,
        "masks": "masks",
        "predictions": {"folder": "predicted"},
    }
    resources = {"memory": 300, "cpus": 1, "time": 10}
    job = {"kind": "evaluate", "labels": LABELS, "data": data, "resources": resources}
    return {"job": job, "needs": list(needs)}


def pipeline(user: User, **stages: dict[str, Any]) -> str:
    path = user.folder / "nightly.yaml"
    path.write_text(yaml.safe_dump({"kind": "pipeline", "stages": stages}, sort_keys=False))
    return path.name


def states(found: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["state"] for each in found["stages"]}


def test_stages_follow_each_other_without_anybody_watching(user: User) -> None:
    file = pipeline(user, a=stage(user), b=stage(user, "a"), also=stage(user, "a"), end=stage(user, "b", "also"))
    said = user.type("submit", file, "--backend", "slurm")
    assert "then goes on" in said
    found = user.over("nightly", timeout=200)
    assert (found["state"], found["code"]) == ("done", 0), found
    assert set(states(found).values()) == {"done"}
    assert "job" in user.type("logs", "nightly")
    assert "exit 0" in user.type("logs", "nightly", "end")


def test_a_stage_that_fails_is_named_and_resume_starts_at_it(user: User) -> None:
    file = pipeline(user, a=stage(user), b=stage(user, "a", images="later"), end=stage(user, "b"))
    user.type("submit", file, "--backend", "slurm")
    found = user.over("nightly", timeout=200)
    assert (found["state"], found["code"]) == ("failed", 2), found
    assert states(found) == {"a": "done", "b": "refused", "end": "cancelled"}
    assert "needs b, which was refused" in user.type("status", "nightly")
    (user.folder / "data" / "later").symlink_to("images")
    user.type("resume", "nightly")
    found = user.over("nightly", timeout=200)
    assert found["state"] == "done", found
    assert len(found["stages"][0]["run"]["tasks"]) == 1
    assert found["stages"][0]["run"]["tasks"][0]["attempts"] == 1


def test_cancelled_between_stages_it_stays_so_until_resumed(user: User) -> None:
    user.type("submit", pipeline(user, a=stage(user), b=stage(user, "a")), "--backend", "slurm")
    user.type("cancel", "nightly", "--now")
    user.slurm.wait_for(
        lambda: not set(user.slurm.jobs().values()) & {"PENDING", "RUNNING", "COMPLETING"}, 60, "an idle queue"
    )
    found = user.status("nightly")
    assert found["state"] in ("cancelled", "done"), found
    if found["state"] == "cancelled":
        user.type("resume", "nightly")
    assert user.over("nightly", timeout=200)["state"] == "done"

"""The command line on a real SLURM: plan, hold, wait for another run, requeue, resume, and causes of failure."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.integration.slurm.world import User
from tests.support.slurm_cluster import SlurmCluster
from tests.support.worlds import make_tiles


@pytest.fixture(scope="session")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_tiles(tmp_path_factory.mktemp("tiles"), 8, size=(16, 16))
    (folder / "predicted").symlink_to("masks")
    return folder


@pytest.fixture
def user(slurm: SlurmCluster, tmp_path: Path) -> User:
    folder = tmp_path / 'it\'s my, "work"'
    return User(slurm, folder)


def test_plan_asks_slurm_without_submitting(user: User, tiles: Path) -> None:
    user.evaluate(tiles)
    said = user.type("plan", "score.yaml", "--backend", "slurm", "--test-only")
    assert "1 job array 0" in said
    assert "tasks 0: " in said
    assert "to start at" in said
    user.evaluate(tiles, slurm={"licenses": "none:1"})
    refused = user.type("plan", "score.yaml", "--test-only", code=1)
    assert "Invalid license specification" in refused
    assert not user.slurm.jobs()
    assert not (user.folder / "runs").exists()


def test_from_submit_to_report_in_a_folder_with_an_odd_name(user: User, tiles: Path) -> None:
    user.evaluate(tiles)
    said = user.type("submit", "score.yaml", "--wait")
    assert "mean IoU 1.0000" in said
    assert "task 0, on node" in user.type("logs", "score", "0")
    assert json.loads(user.type("runs", "--json"))[0]["state"] == "done"
    assert "nothing to resume" in user.type("resume", "score")


def test_held_until_resumed_and_after_another_run(user: User, tiles: Path) -> None:
    user.evaluate(tiles)
    user.evaluate(tiles, "second")
    user.type("submit", "score.yaml", "--hold")
    user.type("submit", "second.yaml", "--after", "score")
    first, second = user.status("score")["tasks"][0], user.status("second")["tasks"][0]
    assert "JobHeldUser" in first["scheduler"]
    assert "Dependency" in second["scheduler"]
    assert "is released" in user.type("resume", "score")
    assert user.over("score")["state"] == "done"
    assert user.over("second")["state"] == "done"


def test_a_run_after_one_that_fails_is_told_why(user: User, tiles: Path) -> None:
    user.evaluate(tiles, retries={"failures": 0})
    user.evaluate(tiles, "second")
    user.site(prolog=["if [[ $RUN == */score/* ]]; then exit 1; fi"])
    user.type("submit", "score.yaml", "--hold")
    user.type("submit", "second.yaml", "--after", "score")
    user.type("resume", "score")
    user.slurm.wait_for(lambda: "CANCELLED" in user.slurm.jobs().values(), 60, "the second run's end")
    found = user.over("second")
    assert found["state"] == "failed"
    assert "resume" in found["hint"]
    user.type("resume", "second", "--wait")
    assert user.status("second")["state"] == "done"


def test_a_missing_log_folder_is_named(user: User, tiles: Path) -> None:
    user.evaluate(tiles)
    user.type("submit", "score.yaml", "--hold")
    shutil.rmtree(user.run("score").paths.logs)
    user.type("resume", "score")
    user.slurm.wait_for(lambda: "FAILED" in user.slurm.jobs().values(), 60, "the task's failure")
    task = user.status("score")["tasks"][0]
    assert task["state"] == "failed"
    assert "log" in task["cause"]["line"]


def test_a_wrong_environment_is_named_with_the_next_command(user: User, tiles: Path) -> None:
    user.site(python="/no/such/python")
    user.evaluate(tiles, retries={"failures": 0})
    user.type("submit", "score.yaml", "--wait", code=1)
    task = user.status("score")["tasks"][0]
    assert task["state"] == "failed"
    assert "/no/such/python" in json.dumps(task["cause"])


def test_cancelled_while_it_waits(user: User, tiles: Path) -> None:
    user.evaluate(tiles)
    user.type("submit", "score.yaml", "--hold")
    user.type("cancel", "score")
    user.slurm.wait_for(lambda: not user.slurm.run("squeue", "-h").strip(), 60, "an empty queue")
    assert user.status("score")["state"] == "cancelled"
    user.type("resume", "score", "--wait")
    assert user.status("score")["state"] == "done"


def test_a_task_that_is_done_can_be_started_anew(user: User, tiles: Path) -> None:
    user.evaluate(tiles)
    user.type("submit", "score.yaml", "--wait")
    assert "starts anew as job" in user.type("requeue", "score", "0")
    user.slurm.wait_for(lambda: user.status("score")["tasks"][0]["attempts"] == 2, 60, "a second attempt")
    assert user.over("score")["state"] == "done"
    assert "expected 0 to 0" in user.type("requeue", "score", "7", code=2)


def test_what_slurm_refuses_is_said_in_its_words(user: User, tiles: Path) -> None:
    user.site(partition="nowhere")
    user.evaluate(tiles)
    said = user.type("submit", "score.yaml", "--backend", "slurm", code=1)
    assert "Invalid partition name specified" in said
    assert "`sinfo -s`" in said


def test_doctor_looks_at_a_node(user: User) -> None:
    found = json.loads(user.type("doctor", "--deep", "--json"))
    states = {(item["area"], item["what"]): item["state"] for item in found}
    assert states["node", "shared files"] == "ok"
    assert states["SLURM", "controller"] == "ok"
    assert not list((user.folder / "runs").iterdir())
    assert not user.slurm.run("squeue", "-h", "-t", "PD,R").strip()

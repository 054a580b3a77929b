"""What clusters do to jobs, done to predict runs on a real SLURM: they end complete, byte for byte as undisturbed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.slurm.world import TILES, User
from tests.support.slow_worker import slow_python
from tests.support.slurm_cluster import SlurmCluster
from tests.support.worlds import make_bundle, make_tiles, mixing_model

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    make_tiles(folder, TILES)
    make_bundle(folder / "bundle", mixing_model())
    return folder


@pytest.fixture(scope="session")
def undisturbed(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Masks and CSVs of the same job on this machine, without SLURM."""
    user = User(None, tmp_path_factory.mktemp("undisturbed"))  # type: ignore[arg-type]
    user.predict(archive)
    user.type("submit", "night.yaml", "--backend", "local", "--wait")
    return user.outputs("night")


@pytest.fixture
def user(slurm: SlurmCluster, tmp_path: Path) -> User:
    return User(slurm, tmp_path)


def slowly(user: User, **site: object) -> None:
    user.site(python=str(slow_python(user.folder)), **site)


def test_undisturbed_equals_the_local_backend(user: User, archive: Path, undisturbed: dict[str, bytes]) -> None:
    user.predict(archive)
    said = user.type("submit", "night.yaml", "--backend", "slurm", "--wait")
    assert f"{TILES} done, 0 rejected, 0 missing" in said
    assert user.outputs("night") == undisturbed
    assert len(undisturbed) == TILES + 4


def node_down(user: User) -> None:
    user.slurm.node_down("node1")


def node_lost(user: User) -> None:
    user.slurm.kill_node("node1", noticed=True)


def slurmd_killed(user: User) -> None:
    user.slurm.kill_slurmd("node1")
    user.slurm.start_slurmd("node1")


def controller_restarted(user: User) -> None:
    user.slurm.stop_slurmctld()
    user.go("night")
    user.slurm.start_slurmctld()


def time_limit(user: User) -> None:
    array = user.status("night")["tasks"][0]["job"].partition("_")[0]
    for index in (0, 1):
        user.slurm.run("scontrol", "update", f"JobId={array}_{index}", "EndTime=now+2")


def requeued_by_hand(user: User) -> None:
    user.type("requeue", "night", "1")


@pytest.mark.parametrize(
    ("fault", "attempts"),
    [
        (node_down, 2),
        (node_lost, 2),
        (slurmd_killed, 1),
        (controller_restarted, 1),
        (time_limit, 2),
        (requeued_by_hand, 2),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_run_survives(
    user: User, archive: Path, undisturbed: dict[str, bytes], fault: Callable[[User], None], attempts: int
) -> None:
    slowly(user)
    user.predict(archive)
    user.type("submit", "night.yaml", "--backend", "slurm")
    user.begun("night", tasks=2)
    before = {path: path.read_bytes() for path in user.run("night").paths.folder.glob("tasks/*/journal-1.csv")}
    fault(user)
    if attempts > 1:
        paths = user.run("night").paths
        second = [paths.task(task).journal(2) for task in (0, 1)]
        user.slurm.wait_for(lambda: any(path.exists() for path in second), 90, "a second attempt")
    user.go("night")
    found = user.over("night")
    assert (found["state"], found["code"], found["done"]) == ("done", 0, TILES)
    assert user.outputs("night") == undisturbed
    assert max(task["attempts"] for task in found["tasks"]) >= attempts
    for path, rows in before.items():
        assert path.read_bytes().startswith(rows), "what was proven stays"


def test_preempted_without_notice(user: User, archive: Path, undisturbed: dict[str, bytes]) -> None:
    slowly(user, partition="scavenge", finish_partition="main")
    user.predict(archive, retries={"failures": 0})
    user.type("submit", "night.yaml", "--backend", "slurm")
    user.begun("night", tasks=2)
    for node in user.slurm.nodes:
        user.slurm.submit("#!/bin/bash\nsleep 1\n", "--exclusive", f"--nodelist={node}")
    user.slurm.wait_for(
        lambda: any(user.run("night").paths.task(task).journal(2).exists() for task in (0, 1)), 90, "a second attempt"
    )
    user.go("night")
    found = user.over("night")
    assert (found["state"], found["done"]) == ("done", TILES)
    assert user.outputs("night") == undisturbed


def test_without_accounting_and_with_a_dead_database(
    slurm_database: SlurmCluster, archive: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    user = User(slurm_database, tmp_path)
    slowly(user)
    user.predict(archive)
    user.type("submit", "night.yaml", "--backend", "slurm")
    user.begun("night")
    slurm_database.kill_database()
    try:
        user.go("night")
        found = user.over("night")
        assert (found["state"], found["done"]) == ("done", TILES)
        assert user.outputs("night") == undisturbed
    finally:
        slurm_database.start_database()


def test_cancelled_then_resumed_over_other_tasks(user: User, archive: Path, undisturbed: dict[str, bytes]) -> None:
    slowly(user)
    user.predict(archive)
    user.type("submit", "night.yaml", "--backend", "slurm")
    user.begun("night", tasks=2)
    assert "finish the batch in hand" in user.type("cancel", "night")
    user.slurm.wait_for(lambda: not user.slurm.run("squeue", "-h").strip(), 60, "an empty queue")
    found = user.status("night")
    assert found["state"] == "cancelled"
    assert 0 < found["done"] < TILES
    said = user.type("resume", "night", "--tasks", "3")
    assert "3 tasks as job array" in said
    user.go("night")
    found = user.over("night")
    assert (found["state"], found["done"], found["total"]) == ("done", TILES, TILES)
    assert user.outputs("night") == undisturbed


def test_a_bad_node_does_not_eat_the_retries(user: User, archive: Path, undisturbed: dict[str, bytes]) -> None:
    user.site(prolog=["[[ $SLURMD_NODENAME != node1 ]] || exit 9"])
    user.predict(
        archive, predict={"tasks": 4}, resources={"cpus": 2}, retries={"failures": 3, "bad_node": 2, "quick": 30}
    )
    user.type("submit", "night.yaml", "--backend", "slurm")
    found = user.over("night")
    assert (found["state"], found["done"]) == ("done", TILES)
    assert user.outputs("night") == undisturbed
    assert {task["host"] for task in found["tasks"]} == {"node2"}


def test_the_demo_jobs_give_the_same_as_on_this_machine(user: User, repo: Path) -> None:
    shutil.copytree(repo / "jobs", user.folder / "jobs")
    user.type("demo", "demo", "--scenes", "3", "--archive-scenes", "1")
    small = ("--set", "resources.memory=1500")
    train = ("submit", "jobs/demo-train.yaml", "--set", "train.epochs=1", *small)
    user.type(*train, "--backend", "slurm", "--wait")
    history = (user.run("demo-train").paths.training / "history.csv").read_text().splitlines()
    predict = ("submit", "jobs/demo-predict.yaml", *small, "--wait")
    user.type(*predict, "--backend", "slurm")
    on_slurm = user.outputs("demo-predict")
    user.type(*predict, "--backend", "local")
    assert user.outputs("demo-predict") == on_slurm
    assert len(on_slurm) == 16 + 4
    assert len(history) == 2

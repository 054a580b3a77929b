"""The batch scripts on a real SLURM, with a stand-in for the worker: what they tell, keep, requeue and give up."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from segbatch.cluster.render import Order, render_script
from segbatch.spec.job import KINDS
from segbatch.spec.site import Site
from tests.support.slurm_cluster import SlurmCluster

WORKER = """#!/bin/bash
run=$4 task=${6:-finish} node=$SLURMD_NODENAME
stop() { echo "told $1" >>"$run/told-$task"; exit 85; }
trap 'stop USR1' USR1
trap 'stop TERM' TERM
attempt=$(( $(cat "$run/attempts-$task" 2>/dev/null || echo 0) + 1 ))
echo "$attempt" >"$run/attempts-$task"
echo '{}' >>"$run/tasks/$task/attempts.jsonl"
hang() { while :; do sleep 0.1; done; }
"""


@dataclass(frozen=True)
class Scene:
    """A run folder, a worker that does as it is told, and the cluster."""

    slurm: SlurmCluster
    folder: Path

    def submit(self, worker: str, *, indexes: str = "0", site: dict[str, Any] | None = None, **sections: Any) -> str:
        program = self.folder / "worker"
        program.write_text(WORKER + worker)
        program.chmod(0o755)
        self.folder.joinpath("logs").mkdir(exist_ok=True)
        (self.folder / "rounds" / "1").mkdir(parents=True, exist_ok=True)
        resources = {"memory": 100, "cpus": 1, "time": 5, **sections.pop("resources", {})}
        job = KINDS["predict"].model_validate(
            {
                "kind": "predict",
                "name": "night",
                "data": {"images": "i"},
                "model": "m",
                "resources": resources,
                **sections,
            }
        )
        order = Order(self.folder, 1, "token", indexes=indexes)
        text = render_script(job, Site.model_validate({"python": str(program), **(site or {})}), order)
        return self.slurm.submit(text, folder=self.folder)

    def lines(self, task: int | str = 0) -> list[dict[str, Any]]:
        path = self.folder / "tasks" / str(task) / "host.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def ends(self, task: int | str = 0) -> list[tuple[int, str, str]]:
        return [(line["code"], line["then"], line["why"]) for line in self.lines(task) if line["event"] == "end"]

    def requeues(self, task: int | str = 0) -> list[str]:
        return [line["why"] for line in self.lines(task) if line["event"] == "requeue"]

    def log(self, job: str, index: int = 0) -> str:
        return (self.folder / "logs" / f"{job}_{index}.log").read_text()

    def running(self, task: int = 0, attempt: int = 1) -> None:
        path = self.folder / f"attempts-{task}"
        self.slurm.wait_for(
            lambda: path.exists() and path.read_text().strip() == str(attempt), 60, f"attempt {attempt} of task {task}"
        )

    def over(self, job: str, state: str, index: int = 0) -> None:
        self.slurm.wait_for(lambda: self.slurm.jobs().get(f"{job}_{index}") == state, 60, f"{job}_{index} {state}")


@pytest.fixture
def scene(slurm: SlurmCluster, tmp_path: Path) -> Scene:
    folder = tmp_path / 'it\'s a "run", [really]\nwith; $(touch pwned) lines'
    folder.mkdir()
    return Scene(slurm, folder)


def test_a_task_that_ends_well_says_so(scene: Scene) -> None:
    job = scene.submit("exit 0", indexes="0,2")
    scene.over(job, "COMPLETED", 0)
    scene.over(job, "COMPLETED", 2)
    assert scene.ends(2) == [(0, "end", "")]
    start = scene.lines(2)[0]
    assert (start["event"], start["job"], start["restart"], start["token"]) == ("start", f"{job}_2", 0, "token")
    assert (scene.folder / "rounds/1/ok/2").exists()
    assert f"job {job}_2, task 2, on node" in scene.log(job, 2)


def test_exit_code_and_retry_of_a_failure(scene: Scene) -> None:
    job = scene.submit("exit 7", retries={"failures": 1})
    scene.over(job, "FAILED")
    assert scene.ends() == [(7, "requeue", "failed"), (7, "end", "failed")]
    assert scene.slurm.job_facts(f"{job}_0")["ExitCode"] == "7:0"


def test_what_fails_before_the_task_is_a_failure_like_any(scene: Scene) -> None:
    job = scene.submit("exit 0", site={"prolog": ["false"]}, retries={"failures": 1})
    scene.over(job, "FAILED")
    assert scene.ends() == [(1, "requeue", "failed"), (1, "end", "failed")]
    assert "stopped before its task" in scene.log(job)


@pytest.mark.parametrize("code", [2, 4])
def test_what_no_retry_helps_is_not_retried(scene: Scene, code: int) -> None:
    job = scene.submit(f"exit {code}", retries={"failures": 5})
    scene.over(job, "FAILED")
    assert scene.ends() == [(code, "end", "no retry helps")]


def test_a_warned_task_goes_on_in_its_next_attempt_and_only_that_one(scene: Scene) -> None:
    job = scene.submit("[[ $attempt -gt 1 ]] && exit 0; hang", indexes="0-1")
    scene.running(0)
    scene.running(1)
    scene.slurm.run("scancel", "--signal=USR1", "--batch", f"{job}_1")
    scene.over(job, "COMPLETED", 1)
    assert scene.ends(1) == [(85, "requeue", "told to stop"), (0, "end", "")]
    assert (scene.folder / "told-1").read_text() == "told USR1\n"
    assert scene.slurm.jobs()[f"{job}_0"] == "RUNNING"
    assert len(scene.lines(0)) == 1
    assert scene.log(job, 1).count("task 1, on node") == 2


def test_a_time_limit_is_an_interruption(scene: Scene) -> None:
    job = scene.submit("[[ $attempt -gt 1 ]] && exit 0; hang", retries={"failures": 0})
    scene.running()
    scene.slurm.run("scontrol", "update", f"JobId={job}_0", "EndTime=now+3")
    scene.over(job, "COMPLETED")
    assert scene.requeues() == ["time limit"]


def test_a_task_too_slow_for_the_time_limit_is_requeued_all_the_same(scene: Scene) -> None:
    job = scene.submit("trap '' USR1 TERM; [[ $attempt -gt 1 ]] && exit 0; hang", retries={"failures": 0})
    scene.running()
    scene.slurm.run("scontrol", "update", f"JobId={job}_0", "EndTime=now+3")
    scene.over(job, "COMPLETED")
    assert scene.requeues() == ["time limit"]


def test_interruptions_have_a_budget(scene: Scene) -> None:
    job = scene.submit("hang", retries={"interruptions": 1, "failures": 3})
    for attempt in (1, 2):
        scene.running(attempt=attempt)
        scene.slurm.run("scancel", "--signal=USR1", "--batch", f"{job}_0")
    scene.over(job, "FAILED")
    assert scene.ends() == [(85, "requeue", "told to stop"), (85, "exhausted", "told to stop")]


def test_a_cancelled_job_stays_cancelled(scene: Scene) -> None:
    job = scene.submit("hang")
    scene.running()
    scene.slurm.run("scancel", job)
    scene.over(job, "CANCELLED")
    assert (scene.folder / "told-0").read_text().startswith("told TERM")
    assert scene.requeues() == []


def test_a_job_cancelled_while_it_prepares_stays_cancelled(scene: Scene) -> None:
    job = scene.submit("exit 0", site={"prolog": [': >"$RUN/here"', "sleep 60"]}, retries={"failures": 3})
    scene.slurm.wait_for((scene.folder / "here").exists, 60, "the prolog")
    scene.slurm.run("scancel", job)
    scene.over(job, "CANCELLED")
    assert scene.requeues() == []


@pytest.mark.parametrize("mode", ["REQUEUE", "CANCEL"])
def test_preemption_is_an_interruption(scene: Scene, mode: str) -> None:
    scene.slurm.run("scontrol", "update", "PartitionName=scavenge", f"PreemptMode={mode}")
    job = scene.submit(
        "[[ $attempt -gt 1 ]] && exit 0; hang",
        site={"partition": "scavenge"},
        slurm={"exclusive": True, "nodelist": "node1"},
        retries={"failures": 0},
    )
    scene.running()
    other = scene.slurm.submit("#!/bin/bash\nsleep 1\n", "--exclusive", "--nodelist=node1")
    scene.over(job, "COMPLETED")
    scene.slurm.run("scontrol", "update", "PartitionName=scavenge", "PreemptMode=REQUEUE")
    assert scene.lines()[-1]["restart"] == 1
    assert scene.slurm.jobs()[other] == "COMPLETED"


def test_the_warning_signal_is_the_sites(scene: Scene) -> None:
    worker = "trap 'stop USR2' USR2; [[ $attempt -gt 1 ]] && exit 0; hang"
    job = scene.submit(worker, site={"warning": {"signal": "USR2", "seconds": 60}})
    scene.running()
    scene.slurm.run("scancel", "--signal=USR2", "--batch", f"{job}_0")
    scene.over(job, "COMPLETED")
    assert scene.ends()[0] == (85, "requeue", "told to stop")


def test_scratch_is_made_and_removed(scene: Scene, tmp_path: Path) -> None:
    base = tmp_path / "scratch of node1"
    base.mkdir()
    job = scene.submit(
        'echo "$SEGBATCH_SCRATCH" >"$run/scratch"; test -d "$SEGBATCH_SCRATCH"',
        site={"scratch": "$LOCAL/${NOTHING:-x}", "environment": {"LOCAL": str(base)}},
        resources={"scratch": True},
    )
    (base / "x").mkdir()
    scene.over(job, "COMPLETED")
    made = (scene.folder / "scratch").read_text().strip()
    assert made.startswith(f"{base}/x/segbatch.")
    assert not list((base / "x").iterdir())


def test_gpus_and_cpus_reach_the_worker(scene: Scene) -> None:
    job = scene.submit(
        'echo "$CUDA_VISIBLE_DEVICES $SLURM_CPUS_PER_TASK" >"$run/seen"', resources={"gpus": 2, "cpus": 3}
    )
    scene.over(job, "COMPLETED")
    assert (scene.folder / "seen").read_text() == "0,1 3\n"


def test_a_bad_node_is_kept_away_from(scene: Scene) -> None:
    worker = "[[ $node == node1 ]] && exit 1; sleep 0.5; exit 0"
    job = scene.submit(worker, indexes="0-7", resources={"cpus": 2}, retries={"failures": 3, "bad_node": 2})
    for index in range(8):
        scene.over(job, "COMPLETED", index)
    visits = [line["node"] for task in range(8) for line in scene.lines(task) if line["event"] == "start"]
    assert visits.count("node1") <= 4, "as many as had started before the second one failed"
    assert not (scene.folder / "rounds/1/stopped").exists()


def test_when_most_tasks_fail_the_rest_is_called_off(scene: Scene) -> None:
    job = scene.submit("exit 1", indexes="0-59", resources={"cpus": 2}, retries={"failures": 0})
    scene.slurm.wait_for(
        lambda: not set(scene.slurm.jobs().values()) & {"PENDING", "RUNNING", "COMPLETING"}, 90, "all are over"
    )
    started = [task for task in range(60) if scene.lines(task)]
    assert 10 <= len(started) < 40
    assert "tasks failed" in (scene.folder / "rounds/1/stopped").read_text()
    assert "CANCELLED" in scene.slurm.jobs().values()
    assert job


def test_a_training_on_two_nodes_knows_its_nodes(slurm: SlurmCluster, tmp_path: Path) -> None:
    program = tmp_path / "worker"
    program.write_text('#!/bin/bash\necho "$SLURM_PROCID $SLURMD_NODENAME $SEGBATCH_NODES" >"$4/rank-$SLURM_PROCID"\n')
    program.chmod(0o755)
    (tmp_path / "logs").mkdir()
    job = KINDS["train"].model_validate(
        {
            "kind": "train",
            "name": "wide",
            "data": {"images": "i", "masks": "m"},
            "labels": {
                "name": "two",
                "classes": [{"id": 0, "name": "a", "color": [0, 0, 0]}, {"id": 1, "name": "b", "color": [9, 9, 9]}],
            },
            "resources": {"nodes": 2, "gpus": 1, "memory": 100, "time": 5},
        }
    )
    text = render_script(job, Site(python=str(program)), Order(tmp_path, 1, "token"))
    submitted = slurm.submit(text, folder=tmp_path)
    slurm.wait_for(lambda: slurm.jobs().get(f"{submitted}_0") == "COMPLETED", 60, "the training")
    said = sorted(path.read_text().split() for path in tmp_path.glob("rank-*"))
    assert [words[0] for words in said] == ["0", "1"]
    # Both nodes of this cluster are at the same address.
    assert {words[2] for words in said} == {"127.0.0.1,127.0.0.1"}

"""Runs given to a SLURM that loses answers, forgets jobs and refuses: each array is asked for exactly once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segbatch.cluster.slurm.chunks import cut
from segbatch.cluster.slurm.client import Slurm
from segbatch.cluster.slurm.limits import Limits, read_limits
from segbatch.cluster.slurm.queue import QueueView
from segbatch.cluster.slurm.scheduler import SlurmScheduler
from segbatch.cluster.slurm.submission import SETTLED_S, Sender, settle
from segbatch.errors import SegbatchError
from segbatch.runs import ledger
from segbatch.runs.claims import claim_round
from segbatch.runs.files import append_line
from segbatch.runs.run import Run
from segbatch.spec.site import Site
from tests.support.fake_slurm import FakeSlurm
from tests.support.slurm_runs import write_run

JOB = """\
kind: predict
name: job
model: {bundle: /models/forest}
data: {images: /data/images}
"""


@dataclass
class World:
    fake: FakeSlurm
    run: Run

    def scheduler(
        self, site: dict[str, Any] | None = None, *, force: bool = False, timeout_s: float = 5
    ) -> SlurmScheduler:
        slurm = Slurm(self.fake.environ, timeout_s=timeout_s)
        found = Site.model_validate({"min_poll_seconds": 0.01, **(site or {})})
        cache = self.fake.folder / "cache"
        view = QueueView(slurm, found.min_poll_seconds, cache)
        return SlurmScheduler(slurm, found, view, lambda: read_limits(slurm, found.limits, cache), force=force)

    def states(self) -> list[tuple[str, str]]:
        return [(str(item.facts["role"]), item.state) for item in ledger.submissions(self.run.paths)]

    def submitted(self) -> int:
        """Calls that submit something."""
        return sum(call[0] == "sbatch" and "--version" not in call for call in self.fake.log)

    def comments(self) -> list[str]:
        return [job.comment for job in self.fake.jobs.values()]

    def done(self, *tasks: int) -> None:
        """Tasks end well: in the folder and in the queue."""
        for task in tasks:
            paths = self.run.paths.task(task)
            append_line(paths.attempts, {"event": "start", "attempt": 1, "time": time.time(), "host": "n", "pid": 1})
            append_line(paths.attempts, {"event": "end", "attempt": 1, "time": time.time(), "code": 0})


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    run = write_run(tmp_path, tasks=3)
    run.paths.job.write_text(JOB)
    with FakeSlurm(tmp_path) as fake:
        yield World(fake, run)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segbatch.cluster.slurm.submission.time.sleep", lambda seconds: None)


@pytest.fixture(autouse=True)
def _unfinished(monkeypatch: pytest.MonkeyPatch) -> None:
    """These runs have no tiles to check: a task is finished when it says so."""

    def unfinished(run: Run, tasks: Any = None) -> list[int]:
        return [task for task in run.current_tasks if '"code"' not in _text(run.paths.task(task).attempts)]

    monkeypatch.setattr("segbatch.cluster.slurm.scheduler.unfinished", unfinished)


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def test_one_sbatch_an_array_and_one_for_the_finish(world: World) -> None:
    made = world.scheduler().start(world.run)
    assert made.arrays == ("101",)
    assert made.finish == "102"
    assert world.submitted() == 2
    assert world.states() == [("tasks", "submitted"), ("finish", "submitted")]
    scripts = [(world.run.paths.folder / f"script-{n}.sbatch").read_text() for n in (1, 2)]
    assert "#SBATCH --array=0-2\n" in scripts[0]
    assert "#SBATCH --dependency=afterany:101\n" in scripts[1]
    tokens = [item.token for item in ledger.submissions(world.run.paths)]
    assert world.comments() == [f"segbatch:{token}" for token in tokens]


def test_long_runs_become_chunks_that_share_the_concurrency(world: World, tmp_path: Path) -> None:
    run = write_run(tmp_path / "long", tasks=25)
    run.paths.job.write_text(JOB + "predict: {concurrency: 5}\n")
    world.fake.max_array_size = 10
    made = world.scheduler().start(run)
    scripts = [(run.paths.folder / f"script-{n}.sbatch").read_text() for n in (1, 2, 3, 4)]
    arrays = [next(line for line in text.splitlines() if "--array" in line) for text in scripts]
    assert arrays == [
        "#SBATCH --array=0-9%2",
        "#SBATCH --array=0-9%2",
        "#SBATCH --array=0-4%1",
        "#SBATCH --array=0",
    ]
    offsets = [next(line for line in text.splitlines() if line.startswith("TASK=")) for text in scripts]
    assert offsets == ["TASK=$(( INDEX + 0 ))", "TASK=$(( INDEX + 10 ))", "TASK=$(( INDEX + 20 ))", "TASK=finish"]
    assert f"--dependency=afterany:{':'.join(made.arrays)}\n" in scripts[3]


@given(
    tasks=st.sets(st.integers(0, 300), min_size=1),
    most=st.integers(1, 50),
    at_once=st.none() | st.integers(1, 40),
)
def test_chunks_hold_every_task_once_within_the_limits(tasks: set[int], most: int, at_once: int | None) -> None:
    chunks = cut(tasks, most, at_once)
    assert sorted(task for chunk in chunks for task in chunk.tasks) == sorted(tasks)
    assert all(max(chunk.indexes) < most for chunk in chunks)
    if at_once is None:
        assert all(chunk.at_once is None and chunk.after is None for chunk in chunks)
        return
    # Chunks that wait for others do not count beside them.
    free = [chunk for chunk in chunks if chunk.after is None]
    assert sum(chunk.at_once or 0 for chunk in free) <= at_once
    assert all(chunk.after is None or chunk.after < position for position, chunk in enumerate(chunks))


@pytest.mark.parametrize("how", ["queue then time out", "queue then hang"])
def test_an_answer_that_is_lost_leads_to_one_job(world: World, how: Any) -> None:
    world.fake.on_sbatch = how
    world.scheduler(timeout_s=1).start(world.run)
    assert len(world.fake.jobs) == 2
    assert world.states() == [("tasks", "submitted"), ("finish", "submitted")]


def test_a_call_that_never_arrived_is_said_to_be_uncertain_and_made_again_later(world: World) -> None:
    world.fake.on_sbatch = "time out"
    with pytest.raises(SegbatchError, match="did not answer"):
        world.scheduler().start(world.run)
    assert world.states() == [("tasks", "uncertain")]
    world.fake.on_sbatch = "ok"
    with pytest.raises(SegbatchError, match="may still appear"):
        world.scheduler().start(world.run)
    assert not world.fake.jobs
    settle(world.run, world.scheduler().view, now=time.time() + SETTLED_S + 1)
    world.scheduler().start(world.run)
    assert world.states() == [("tasks", "refused"), ("tasks", "submitted"), ("finish", "submitted")]
    assert len(world.fake.jobs) == 2


def test_a_job_that_appears_late_is_found_and_not_asked_for_again(world: World) -> None:
    world.fake.on_sbatch = "queue then time out"
    sender = world.scheduler()
    world.fake.squeue = "garbage"
    with pytest.raises(SegbatchError):
        sender.start(world.run)
    world.fake.squeue, world.fake.on_sbatch = "text", "ok"
    made = world.scheduler().start(world.run)
    assert made.arrays == ()
    assert made.live == 3
    assert next(job.comment for job in world.fake.jobs.values()) == f"segbatch:{_token(world, 0)}"
    assert len(world.fake.jobs) == 2


def _token(world: World, number: int) -> str:
    return ledger.submissions(world.run.paths)[number].token


def test_killed_between_sbatch_and_the_ledger(world: World) -> None:
    """A process that dies by SIGKILL the moment sbatch has answered."""
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from segbatch.cluster.slurm.client import Slurm\n"
        "from segbatch.cluster.backend import slurm_scheduler\n"
        "from segbatch.runs.run import open_run\n"
        "from segbatch.spec.site import Site\n"
        "submit = Slurm.submit\n"
        "def die(*arguments): submit(*arguments); os.kill(os.getpid(), signal.SIGKILL)\n"
        "Slurm.submit = die\n"
        "slurm_scheduler(Site()).start(open_run(Path(sys.argv[1])))\n"
    )
    command = [sys.executable, "-c", code, str(world.run.paths.folder)]
    killed = subprocess.run(command, env={**os.environ, **world.fake.environ}, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert world.states() == [("tasks", "submitting")]
    made = world.scheduler().start(world.run)
    assert made.arrays == ()
    assert made.live == 3
    assert world.states() == [("tasks", "submitted"), ("finish", "submitted")]
    assert len(world.fake.jobs) == 2


def test_found_by_what_its_tasks_wrote_when_the_queue_has_forgotten(world: World) -> None:
    ledger.record(
        world.run.paths,
        "feed",
        "submitting",
        backend="slurm",
        round=1,
        role="tasks",
        script="script-1.sbatch",
        offset=0,
        indexes="0-2",
    )
    line = {"event": "start", "time": 1, "job": "77_1", "raw": "78", "restart": 0, "node": "n", "token": "feed"}
    append_line(world.run.paths.task(1).folder / "host.jsonl", line)
    found = settle(world.run, world.scheduler().view)
    assert (found[0].state, found[0].facts["job"]) == ("submitted", "77")


def test_a_refusal_keeps_slurms_words_and_nothing_is_queued(world: World) -> None:
    world.fake.on_sbatch = "refuse"
    with pytest.raises(SegbatchError, match=r"Invalid partition name specified.*Set `partition` in the site file"):
        world.scheduler().start(world.run)
    assert world.states() == [("tasks", "refused")]
    world.fake.on_sbatch = "ok"
    world.scheduler().start(world.run)
    assert len(world.fake.jobs) == 2


def test_a_refused_finish_is_submitted_later(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    send = Sender.send

    def refuse_finish(self: Sender, order: Any) -> str:
        if order.finish:
            world.fake.on_sbatch = "refuse"
        return send(self, order)

    expected = r"the tasks of job/.* are in the queue(.|\n)*segbatch resume"
    with monkeypatch.context() as patch:
        patch.setattr(Sender, "send", refuse_finish)
        with pytest.raises(SegbatchError, match=expected):
            world.scheduler().start(world.run)
    world.fake.on_sbatch = "ok"
    made = world.scheduler().start(world.run)
    assert (made.arrays, made.live) == ((), 3)
    assert world.fake.task(made.finish, 0).dependency == "afterany:101"


def test_resume_asks_only_for_what_is_missing(world: World) -> None:
    world.scheduler().start(world.run)
    for index, state in enumerate(["COMPLETED", "FAILED", "RUNNING"]):
        task = world.fake.start("101", index)
        if state != "RUNNING":
            world.fake.end("101", index, state)
        assert task
    world.done(0)
    made = world.scheduler().start(world.run)
    assert (made.tasks, made.live) == (1, 1)
    script = (world.run.paths.folder / "script-3.sbatch").read_text()
    assert "#SBATCH --array=1\n" in script
    assert world.fake.task(made.finish, 0).dependency == f"afterany:101:{made.arrays[0]}"
    assert world.fake.task("102", 0).state == "CANCELLED", "two finishing jobs would write one report"


def test_an_id_that_is_used_again_is_not_taken_for_ours(world: World) -> None:
    made = world.scheduler().start(world.run)
    world.fake.purge(made.arrays[0])
    world.fake.purge(made.finish)
    world.fake.next_id = int(made.arrays[0])
    subprocess.run(["sbatch", "--comment=somebody else's", _script(world.run)], env=world.fake.environ, check=True)
    again = world.scheduler().start(world.run)
    assert (again.tasks, again.live) == (3, 0)


def _script(run: Run) -> str:
    path = run.paths.folder / "other.sh"
    path.write_text("#!/bin/sh\n#SBATCH --array=0-2\nsleep 9\n")
    return str(path)


def test_a_state_that_nobody_knows_counts_as_alive(world: World) -> None:
    made = world.scheduler().start(world.run)
    for index in range(3):
        world.fake.start(made.arrays[0], index).state = "WEIRD_NEW_STATE"
    assert world.scheduler().start(world.run).live == 3


def test_when_the_queue_cannot_be_asked_nothing_is_submitted_twice(world: World) -> None:
    world.scheduler().start(world.run)
    world.fake.controller = "down"
    with pytest.raises(SegbatchError, match=r"cannot be asked which of its tasks still run.*--force"):
        world.scheduler().start(world.run)
    assert world.submitted() == 2


def test_held_tasks_are_released_and_dead_ones_cleared(world: World) -> None:
    made = world.scheduler().start(world.run)
    for task in world.fake.jobs[made.arrays[0]].tasks.values():
        task.reason = "DependencyNeverSatisfied"
    again = world.scheduler().start(world.run)
    assert again.cleared == made.arrays
    assert (again.tasks, again.live) == (3, 0)
    for task in world.fake.jobs[again.arrays[0]].tasks.values():
        task.reason = "JobHeldUser"
    third = world.scheduler().start(world.run)
    assert set(third.released) == {f"{again.arrays[0]}_{index}" for index in range(3)}
    assert (third.tasks, third.live) == (0, 3)


def test_two_commands_at_once_make_one_round(world: World) -> None:
    claim_round(world.run.paths)
    with pytest.raises(SegbatchError, match=f"process {os.getpid()} .* is submitting this run just now"):
        world.scheduler().start(world.run)
    assert not world.fake.jobs


def test_cancel_lets_running_tasks_finish_their_batch(world: World) -> None:
    made = world.scheduler().start(world.run)
    world.fake.start(made.arrays[0], 0)
    assert world.scheduler().cancel(world.run)
    tasks = world.fake.jobs[made.arrays[0]].tasks
    assert tasks[0].state == "RUNNING"
    assert "USR1" in str(world.fake.signals)
    assert (world.run.paths.folder / "rounds/1/cancelled").exists()
    assert [tasks[index].state for index in (1, 2)] == ["CANCELLED", "CANCELLED"]
    assert world.fake.task(made.finish, 0).state == "CANCELLED"
    assert [state for _, state in world.states()] == ["cancelled", "cancelled"]


def test_limits_are_refused_before_anything_is_written(world: World) -> None:
    scheduler = world.scheduler({"limits": {"max_submit": 50}})
    scheduler.check(49)
    with pytest.raises(SegbatchError, match=r"50 tasks .* \(MaxSubmitJobs is 50\).*predict.tasks=49"):
        scheduler.check(50)
    assert Limits().max_array_size == 1001


def test_ledger_lines_say_what_happened(world: World) -> None:
    world.scheduler().start(world.run)
    lines = [json.loads(line) for line in world.run.paths.ledger.read_text().splitlines()]
    assert [line["state"] for line in lines] == ["submitting", "submitted"] * 2
    assert {"backend", "round", "role", "script", "offset", "indexes", "user", "host"} <= lines[0].keys()
    assert lines[1]["job"] == "101"

"""What the queue and accounting add to a run's folder, with answers made by hand."""

from __future__ import annotations

import getpass
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from segbatch.cluster.observe import Observer, observe, observe_all
from segbatch.cluster.slurm.answers import SlurmUnavailableError
from segbatch.cluster.slurm.client import Slurm
from segbatch.cluster.slurm.queue import QueueView
from segbatch.cluster.slurm.rows import AccountRow, QueueRow
from segbatch.cluster.slurm.states import read_state
from segbatch.runs.layout import FINISH
from segbatch.runs.status import RunStatus
from segbatch.spec.site import Site
from tests.support.slurm_runs import Story, write_run

SITE = Site()
TASKS, FINISHING = "tasks1-0-100", "finish1-0-101"


@dataclass(frozen=True)
class Answers(Slurm):
    """SLURM with answers that a test gives."""

    rows: list[QueueRow] = field(default_factory=list)
    accounts: list[AccountRow] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    down: set[str] = field(default_factory=set)

    def queue(self) -> list[QueueRow]:
        self._ask("squeue")
        return list(self.rows)

    def accounting(self, jobs: Sequence[str] | None, since: float) -> list[AccountRow]:
        self._ask("sacct")
        return [row for row in self.accounts if row.array in (jobs or ())]

    def version(self) -> tuple[int, int]:
        return 22, 5

    def _ask(self, program: str) -> None:
        self.asked.append(program)
        if program in self.down:
            raise SlurmUnavailableError(program, "Unable to contact slurm controller (connect failure)", "")


def row(job: str, state: str, token: str = TASKS, **more: object) -> QueueRow:
    array, _, index = job.partition("_")
    facts = {"raw": "9", "comment": f"segbatch:{token}"} | more
    return QueueRow(job=job, array=array, index=int(index), state=read_state(state), **facts)  # type: ignore[arg-type]


def account(job: str, state: str, **more: object) -> AccountRow:
    array, _, index = job.partition("_")
    facts = {"raw": "9", "exit_code": 0, "exit_signal": 0, "nodes": "node2", "submitted": 1.0, "started": 2.0}
    facts |= {"ended": 3.0} | more
    return AccountRow(job=job, array=array, index=int(index), state=read_state(state), **facts)  # type: ignore[arg-type]


@pytest.fixture
def slurm() -> Answers:
    return Answers()


@pytest.fixture
def view(slurm: Answers, tmp_path: Path) -> QueueView:
    return QueueView(slurm, 30, tmp_path / "cache")


@pytest.fixture
def story(tmp_path: Path) -> Story:
    """A run submitted some minutes ago."""
    found = Story(write_run(tmp_path), now=time.time() - 600)
    found.submit_all()
    return found


def look(story: Story, view: QueueView) -> RunStatus:
    return observe(story.run, SITE, view=view)


def test_waiting_tasks_show_why_and_when(story: Story, view: QueueView, slurm: Answers) -> None:
    slurm.rows.extend([row("100_0", "PENDING", reason="Resources", start="2026-01-01T10:00:00")])
    slurm.rows.extend([row("100_1", "RUNNING", nodes="node7", time_left_s=500), row("100_2", "PENDING")])
    slurm.rows.extend([row("101_0", "PENDING", FINISHING, reason="Dependency")])
    found = look(story, view)
    first, second = found.tasks[:2]
    assert (first.state, first.scheduler, first.expected) == ("queued", "PENDING (Resources)", "2026-01-01T10:00:00")
    assert (second.state, second.host) == ("running", "node7")
    assert second.time_left_s is not None
    assert 490 <= second.time_left_s <= 500
    assert (found.state, found.finish.scheduler) == ("running", "PENDING (Dependency)")
    assert not found.notes


def test_another_users_or_older_job_of_the_same_id_is_not_ours(story: Story, view: QueueView, slurm: Answers) -> None:
    """Ids are used again: only the comment says whose a row is."""
    story.start(0)
    slurm.rows.extend([row("100_0", "COMPLETED", "another"), row("100_1", "RUNNING", "another")])
    slurm.accounts.extend([account("100_0", "RUNNING", comment="segbatch:another")])
    found = look(story, view)
    assert [task.state for task in found.tasks] == ["killed", "killed", "killed"]


def test_a_node_that_failed_shows_as_waiting_again(story: Story, view: QueueView, slurm: Answers) -> None:
    """Its attempt has no end, but SLURM has put the task back."""
    story.start(0)
    slurm.rows.extend([row("100_0", "PENDING", reason="BeginTime", restarts=1)])
    assert look(story, view).tasks[0].state == "queued"


def test_what_the_files_say_after_the_queue_counts_more(story: Story, view: QueueView, slurm: Answers) -> None:
    slurm.rows.extend([row(f"100_{task}", "PENDING") for task in range(3)])
    observer = Observer(SITE, view)
    assert observer.look(story.run).tasks[0].state == "queued"
    story.now = time.time() + 1
    story.start(0)
    assert observer.look(story.run).tasks[0].state == "running"
    story.end(0)
    assert observer.look(story.run).tasks[0].state == "done"
    assert slurm.asked.count("squeue") == 1


def test_an_end_without_a_word_is_told_by_the_queue(story: Story, view: QueueView, slurm: Answers) -> None:
    for task in range(3):
        story.start(task)
    slurm.rows.extend(
        [
            row("100_0", "OUT_OF_MEMORY"),
            row("100_1", f"CANCELLED by {os.getuid()}"),
            row("100_2", "NODE_FAIL", nodes="node1"),
        ]
    )
    found = look(story, view)
    assert [task.state for task in found.tasks] == ["killed"] * 3
    kinds = [task.cause.kind for task in found.tasks if task.cause]
    assert kinds == ["host out of memory", "cancelled", "node failed"]
    assert found.tasks[1].cause is not None
    assert f"by {getpass.getuser()}" in found.tasks[1].cause.line


def test_a_missing_log_folder_is_named(story: Story, view: QueueView, slurm: Answers) -> None:
    """FAILED 0:53, and not a line anywhere."""
    slurm.rows.extend([row("100_0", "FAILED", exit_code=0, exit_signal=53, reason="JobLaunchFailure")])
    first = look(story, view).tasks[0]
    assert first.state == "failed"
    assert first.cause is not None
    assert first.cause.kind == "log folder missing"


def test_a_job_that_left_the_queue_is_asked_of_accounting(story: Story, view: QueueView, slurm: Answers) -> None:
    story.start(0)
    slurm.rows.extend([row("100_1", "PENDING"), row("100_2", "PENDING"), row("101_0", "PENDING", FINISHING)])
    slurm.accounts.extend([account("100_0", "NODE_FAIL", submitted=1.0), account("100_0", "TIMEOUT", submitted=5.0)])
    found = look(story, view)
    first = found.tasks[0]
    assert (first.state, first.scheduler, first.attempts) == ("killed", "TIMEOUT", 2)
    assert first.cause is not None
    assert first.cause.kind == "time limit"
    assert slurm.asked == ["squeue", "sacct"]


def test_a_purged_job_without_accounting_is_gone_and_says_so(story: Story, view: QueueView, slurm: Answers) -> None:
    story.start(0)
    slurm.down.add("sacct")
    found = look(story, view)
    assert found.tasks[0].state == "killed"
    assert found.state == "killed"
    assert any("accounting cannot be asked" in note for note in found.notes)


def test_the_last_lines_get_time_to_arrive(story: Story, view: QueueView, slurm: Answers) -> None:
    """A shared file system may show them a minute later."""
    story.now = time.time() - 20
    story.start(0)
    assert look(story, view).tasks[0].state == "running"


def test_while_the_controller_is_down_the_folder_counts(story: Story, view: QueueView, slurm: Answers) -> None:
    story.start(0)
    slurm.down.add("squeue")
    found = look(story, view)
    assert [task.state for task in found.tasks] == ["running", "queued", "queued"]
    assert any("queue cannot be asked" in note and "Unable to contact" in note for note in found.notes)


def test_an_old_answer_of_the_queue_tells_its_age(story: Story, slurm: Answers, tmp_path: Path) -> None:
    view = QueueView(slurm, 0.001, tmp_path / "cache")
    slurm.rows.extend([row("100_0", "PENDING", reason="Priority")])
    observer = Observer(SITE, view)
    observer.look(story.run)
    slurm.down.add("squeue")
    found = observer.look(story.run, now=time.time() + 100)
    assert found.tasks[0].scheduler == "PENDING (Priority)"
    assert any("100 s ago" in note for note in found.notes)


def test_an_uncertain_submission_is_found_by_its_token(tmp_path: Path, view: QueueView, slurm: Answers) -> None:
    story = Story(write_run(tmp_path), now=time.time() - 600)
    token = story.submit("0-2", then="uncertain", words="Socket timed out")
    slurm.rows.extend([row("77_0", "PENDING", token), row("77_1", "RUNNING", token), row("77_2", "PENDING", token)])
    found = look(story, view)
    assert [task.state for task in found.tasks] == ["queued", "running", "queued"]
    assert found.tasks[0].job == "77_0"
    assert not found.notes


def test_a_dead_dependency_names_what_it_waited_for(tmp_path: Path, view: QueueView, slurm: Answers) -> None:
    before = Story(write_run(tmp_path, run_id="20250101-000000-0000"))
    before.submit("0", "55", role=FINISH)
    story = Story(write_run(tmp_path), now=time.time() - 600)
    story.submit_all()
    dead = {"reason": "DependencyNeverSatisfied", "dependency": "afterok:55_*(failed)"}
    slurm.rows.extend([row(f"100_{task}", "PENDING", **dead) for task in range(3)])
    found = look(story, view).tasks[0].cause
    assert found is not None
    assert "run job/20250101-000000-0000 (job 55)" in found.line
    assert f"segbatch resume {story.run.paths.folder}" in found.next


def test_held_jobs_are_named_with_what_frees_them(story: Story, view: QueueView, slurm: Answers) -> None:
    slurm.rows.extend([row("100_0", "PENDING", reason="launch failed requeued held")])
    found = look(story, view).tasks[0]
    assert found.cause is not None
    assert "releases it" in found.cause.next


def test_failures_are_explained_by_their_logs(story: Story, view: QueueView, slurm: Answers) -> None:
    for task in range(3):
        story.start(task)
        story.end(task, 1, "end", "failed", message="ResourceExhaustedError: x" if task else "ValueError: y")
    story.log(0, "Traceback (most recent call last):\nValueError: y")
    story.start(FINISH)
    story.end(FINISH, 1, message="30 of 30 tiles are missing")
    found = look(story, view)
    assert found.state == "failed"
    assert [task.cause.kind for task in found.tasks if task.cause] == ["failed", *["GPU out of memory"] * 2]
    assert found.tasks[0].cause is not None
    assert "ValueError: y" in found.tasks[0].cause.excerpt
    assert slurm.asked == []  # It is over, and its files say why.


def test_many_runs_cost_one_question(tmp_path: Path, view: QueueView, slurm: Answers) -> None:
    runs = []
    for number in range(5):
        story = Story(write_run(tmp_path, run_id=f"2026010{number + 1}-000000-0000"), now=time.time() - 600)
        story.submit_all()
        runs.append(story.run)
    observe_all(runs, SITE, view=view)
    assert slurm.asked.count("squeue") == 1
    assert slurm.asked.count("sacct") == 1


def test_runs_without_slurm_never_ask_it(tmp_path: Path, view: QueueView, slurm: Answers) -> None:
    run = write_run(tmp_path)
    assert observe(run, SITE, view=view).state == "pending"
    assert slurm.asked == []


def test_another_users_run_is_told_from_its_folder(tmp_path: Path, view: QueueView, slurm: Answers) -> None:
    story = Story(write_run(tmp_path), now=time.time() - 600)
    story.submit("0-2", user="somebody-else")
    found = look(story, view)
    assert found.state == "queued"
    assert any("somebody-else" in note for note in found.notes)
    assert slurm.asked == []


def test_a_watcher_asks_accounting_no_more_often_than_the_site_allows(
    story: Story, view: QueueView, slurm: Answers
) -> None:
    story.now = time.time() - 30
    story.start(0)
    slurm.rows.extend([row("100_1", "PENDING"), row("100_2", "PENDING")])
    observer = Observer(SITE, view)
    for _ in range(5):
        observer.look(story.run)
    assert slurm.asked == ["squeue", "sacct"]


def test_a_state_that_nobody_knows_is_shown_and_changes_nothing(story: Story, view: QueueView, slurm: Answers) -> None:
    story.start(0)
    slurm.rows.extend([row("100_0", "FROBNICATED")])
    found = look(story, view).tasks[0]
    assert (found.state, found.scheduler) == ("running", "FROBNICATED")


def test_completed_without_a_line_is_a_folder_that_nodes_do_not_see(
    story: Story, view: QueueView, slurm: Answers
) -> None:
    slurm.rows.extend([replace(row("100_0", "COMPLETED"), exit_code=0)])
    found = look(story, view).tasks[0]
    assert (found.state, found.cause is not None) == ("failed", True)
    assert "wrote nothing" in found.message


def test_cancelled_while_it_was_held_is_cancelled(story: Story, view: QueueView, slurm: Answers) -> None:
    """SLURM's reason outlives the wait; and what never ran was no attempt."""
    slurm.rows.append(row("100_0", "CANCELLED", reason="JobHeldUser"))
    story.start(FINISH)
    found = look(story, view).tasks[0]
    assert (found.state, found.attempts) == ("killed", 0)
    assert found.cause is not None
    assert found.cause.kind == "cancelled"


def test_a_task_that_still_runs_while_the_finishing_job_does_is_running(
    story: Story, view: QueueView, slurm: Answers
) -> None:
    """It was requeued at the moment when the finishing job was let go."""
    story.start(0)
    story.start(FINISH)
    slurm.rows.append(row("100_0", "RUNNING", nodes="node2"))
    assert look(story, view).tasks[0].state == "running"

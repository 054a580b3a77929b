"""What became of runs on SLURM, told from their folders alone."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segbatch.runs.layout import FINISH
from segbatch.runs.status import RunStatus, run_status
from tests.support.slurm_runs import NOW, Story, write_run


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(write_run(tmp_path))


def status(story: Story) -> RunStatus:
    return run_status(story.run, story.now)


def states(story: Story) -> list[str]:
    found = status(story)
    return [task.state for task in found.tasks] + [found.finish.state, found.state]


def test_submitted_and_not_started_is_queued(story: Story) -> None:
    story.submit_all()
    assert states(story) == ["queued", "queued", "queued", "queued", "queued"]
    assert status(story).backend == "slurm"
    assert not status(story).over


def test_a_run_that_ends_well(story: Story) -> None:
    story.submit_all()
    story.wait(5).start(0)
    story.progress(0, 4)
    assert states(story) == ["running", "queued", "queued", "queued", "running"]
    found = status(story)
    assert (found.done, found.total, found.rate, found.tasks[0].host) == (4, 30, 2.0, "node1")
    for task in (0, 1, 2):
        story.wait(5)
        if task:
            story.start(task)
        story.progress(task, 10)
        story.end(task)
    assert states(story) == ["done", "done", "done", "queued", "queued"]
    story.wait(5).start(FINISH)
    assert states(story)[-2:] == ["running", "running"]
    story.end(FINISH, 3)
    assert states(story) == ["done", "done", "done", "done", "done"]
    assert status(story).exit_code == 3


def test_a_task_that_was_interrupted_and_requeued_waits_again(story: Story) -> None:
    story.submit_all()
    story.start(0)
    story.wait(60).end(0, 85, "requeue", "time limit")
    found = status(story).tasks[0]
    assert (found.state, found.attempts, found.why) == ("queued", 1, "time limit")
    story.wait(60).start(0, restart=1)
    found = status(story).tasks[0]
    assert (found.state, found.attempts) == ("running", 2)
    story.wait(60).end(0, restart=1)
    assert status(story).tasks[0].state == "done"


def test_attempts_that_never_reached_the_worker_count(story: Story) -> None:
    story.submit_all()
    story.start(0, worker=False)
    story.wait(1).end(0, 127, "requeue", "exit 127", message=None)
    story.wait(9).start(0, restart=1)
    found = status(story).tasks[0]
    assert (found.state, found.attempts) == ("running", 2)


def test_an_attempt_that_never_reached_the_worker_is_not_judged_by_the_one_before(story: Story) -> None:
    """The worker of the first attempt ended; the second one's container is missing."""
    story.submit_all()
    story.start(0)
    story.wait(9).end(0, 1, "requeue", "exit 1", message="RuntimeError: first")
    story.wait(9).start(0, restart=1, worker=False)
    story.wait(1).end(0, 255, "end", "failed", restart=1, message=None)
    found = status(story).tasks[0]
    assert (found.state, found.code, found.message) == ("failed", 255, "")


def test_a_worker_without_a_word_of_its_script_counts(story: Story) -> None:
    """The disk was full when the batch script began."""
    story.submit_all()
    story.start(0)
    story.run.paths.task(0).host.unlink()
    assert status(story).tasks[0].state == "running"


def test_silence_shows_only_when_it_is_long(story: Story) -> None:
    story.submit_all()
    story.start(0)
    story.wait(30).progress(0, 3)
    assert status(story).tasks[0].silent(story.now + 100) is None
    assert status(story).tasks[0].silent(story.now + 130) == 130


def test_an_open_attempt_is_dead_once_the_finishing_job_has_started(story: Story) -> None:
    """The finishing job starts when all arrays have ended."""
    story.submit_all()
    for task in (0, 1):
        story.start(task)
    story.wait(20).end(0)
    story.wait(20).start(FINISH)
    assert states(story)[:4] == ["done", "killed", "failed", "running"]
    assert "before its batch script" in status(story).tasks[2].message
    story.wait(1).end(FINISH, 1, message="20 of 30 tiles are missing")
    found = status(story)
    assert (found.state, found.exit_code) == ("killed", 1)
    assert "segbatch resume" in found.hint


def test_an_attempt_that_began_after_the_finishing_job_is_alive(story: Story) -> None:
    """It was requeued at the very moment when the finishing job was let go."""
    story.submit_all()
    story.start(0)
    story.wait(9).end(0, 1, "requeue", "failed")
    story.start(FINISH)
    story.wait(9).start(0, restart=1)
    assert states(story)[0] == "running"


def test_what_the_finishing_job_found_complete_is_done(story: Story) -> None:
    """A task killed between its last tile and its last line."""
    story.submit_all()
    for task in (0, 1, 2):
        story.start(task)
    story.wait(9).end(0)
    story.end(1)
    story.wait(9).start(FINISH)
    story.end(FINISH)
    assert states(story) == ["done", "done", "killed", "done", "done"]


@pytest.mark.parametrize(("code", "state"), [(85, "interrupted"), (1, "failed"), (4, "failed")])
def test_a_run_ends_as_its_worst_task(story: Story, code: int, state: str) -> None:
    story.submit_all()
    for task in (0, 1, 2):
        story.start(task)
        story.end(task, code if task == 1 else 0, "exhausted" if code == 85 else "end")
    story.wait(9).start(FINISH)
    story.end(FINISH, 1, message="10 of 30 tiles are missing")
    found = status(story)
    assert (found.tasks[1].state, found.state, found.code) == (state, state, code)


def test_a_new_round_makes_the_old_one_history(story: Story) -> None:
    story.submit_all()
    for task in (0, 1, 2):
        story.start(task)
        story.end(task, 1 if task == 2 else 0)
    story.wait(9).start(FINISH)
    story.end(FINISH, 1)
    assert status(story).state == "failed"
    story.wait(60).round = 2
    story.submit("2", "200")
    story.submit("0", "201", role=FINISH)
    assert states(story) == ["done", "done", "queued", "queued", "queued"]
    story.wait(9).start(2, "200_2")
    assert states(story) == ["done", "done", "running", "queued", "running"]
    story.end(2, job="200_2")
    story.wait(9).start(FINISH, "201_0")
    story.end(FINISH, job="201_0")
    assert states(story) == ["done"] * 5
    assert status(story).tasks[2].attempts == 2


def test_refused_and_uncertain_submissions_are_named(story: Story) -> None:
    story.submit("0-1", "100", then="uncertain", words="Socket timed out")
    story.submit("2", then="refused", token="no", words="Invalid account")
    found = status(story)
    assert found.state == "unknown"
    command = f"segbatch resume {story.run.paths.folder}"
    assert any("Socket timed out" in note and command in note for note in found.notes)
    assert any("tasks 2" in note and "Invalid account" in note for note in found.notes)


def test_all_refused_is_a_failure(story: Story) -> None:
    story.submit("0-2", then="refused", words="Invalid account")
    assert (status(story).state, status(story).exit_code) == ("failed", 1)


def test_a_lost_answer_is_found_by_what_the_tasks_wrote(story: Story) -> None:
    """sbatch timed out after it had queued the job: the task's own line has the token."""
    story.submit("0-2", "100", token="tok", then="uncertain", words="Socket timed out")
    line = {"event": "start", "time": story.now, "job": "100_1", "raw": "7", "restart": 0, "node": "n", "token": "tok"}
    story.run.paths.task(1).host.write_text(json.dumps(line | {"round": 1}) + "\n")
    assert states(story)[:3] == ["queued", "running", "queued"]
    assert not status(story).notes


def test_a_command_that_died_before_its_answer_is_in_doubt_after_a_while(story: Story) -> None:
    story.submit("0-2", then="")
    assert status(story).state == "queued"
    story.wait(120)
    assert status(story).state == "unknown"


def test_a_cancelled_run(story: Story) -> None:
    story.submit_all()
    story.start(0)
    story.mark("cancelled")
    assert status(story).state == "running"
    story.wait(3).end(0, 85, "cancelled")
    assert states(story) == ["interrupted", "pending", "pending", "pending", "cancelled"]
    assert status(story).exit_code == 85


def test_a_stopped_round_says_why(story: Story) -> None:
    story.submit_all()
    story.mark("stopped", "12 of 15 tasks failed\n")
    assert any("12 of 15 tasks failed" in note for note in status(story).notes)


def test_tasks_keep_their_numbers_over_arrays_with_offsets(story: Story) -> None:
    story.submit("0-1", "100")
    story.submit("0", "102", offset=2)
    story.submit("0", "103", role=FINISH)
    story.start(2, "102_0")
    found = status(story)
    assert [task.job for task in found.tasks] == ["100_0", "100_1", "102_0"]
    assert found.tasks[2].state == "running"


def test_a_run_goes_on_here_after_slurm(story: Story) -> None:
    """The newest submission says where a run is."""
    story.submit_all()
    story.start(0)
    line = {"time": story.now, "token": "here", "state": "submitted", "backend": "local", "host": "elsewhere", "pid": 1}
    with story.run.paths.ledger.open("a") as handle:
        handle.write(json.dumps(line) + "\n")
    found = status(story)
    assert (found.backend, found.state) == ("local", "unknown")


def test_a_thousand_tasks_take_well_under_a_second(tmp_path: Path) -> None:
    story = Story(write_run(tmp_path, tasks=1000))
    story.submit("0-999", "100")
    story.submit("0", "101", role=FINISH)
    for task in range(900):
        paths = story.run.paths.task(task)
        host = {"time": NOW, "job": f"100_{task}", "raw": str(task), "restart": 0, "node": "n", "round": 1}
        host["token"] = "tasks1-0-100"
        lines = [host | {"event": "start"}, host | {"event": "end", "code": 0, "then": "end", "why": ""}]
        paths.host.write_text("".join(json.dumps(line) + "\n" for line in lines))
        worker = {"attempt": 1, "time": NOW, "host": "n", "pid": 1}
        ends = [worker | {"event": "start"}, worker | {"event": "end", "code": 0}]
        paths.attempts.write_text("".join(json.dumps(line) + "\n" for line in ends))
        story.progress(task, 10)
    began = time.perf_counter()
    found = run_status(story.run, NOW)
    assert time.perf_counter() - began < 1.5
    assert dict(found.counts()) == {"done": 900, "queued": 100}


words = st.sampled_from(
    ["start", "end", "requeue", "100_1", "101_0", "1", "t", "tasks", "finish", "slurm", "local", "submitted", "0-2", ""]
)
values = st.one_of(words, st.integers(-3, 200), st.floats(), st.none(), st.booleans(), st.lists(words, max_size=2))
host_lines = st.dictionaries(
    st.sampled_from(["event", "time", "job", "raw", "restart", "node", "token", "round", "code", "then", "why"]), values
)
worker_lines = st.dictionaries(
    st.sampled_from(["event", "attempt", "time", "host", "pid", "started", "code", "message", "scheduler"]),
    st.one_of(values, st.dictionaries(st.just("SLURM_JOB_ID"), values)),
)
ledger_lines = st.dictionaries(
    st.sampled_from(
        [
            *("token", "state", "backend", "round", "role", "indexes", "offset"),
            *("job", "time", "code", "pid", "host", "words"),
        ]
    ),
    values,
)
progresses = st.dictionaries(st.sampled_from(["done", "total", "rate", "updated", "unit", "note"]), values)


@settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    deadline=None,
)
@given(
    host=st.lists(host_lines, max_size=5),
    worker=st.lists(worker_lines, max_size=5),
    ledger=st.lists(ledger_lines, max_size=4),
    progress=progresses,
    proper=st.booleans(),
    torn=st.booleans(),
)
def test_whatever_stands_in_the_folder_status_has_an_answer(
    tmp_path_factory: pytest.TempPathFactory,
    host: list[dict[str, object]],
    worker: list[dict[str, object]],
    ledger: list[dict[str, object]],
    progress: dict[str, object],
    proper: bool,
    torn: bool,
) -> None:
    story = Story(write_run(tmp_path_factory.mktemp("run")))
    if proper:
        story.submit_all()
    end = '{"event":"sta' if torn else ""
    for task in (0, FINISH):
        paths = story.run.paths.task(task)
        paths.host.write_text("".join(json.dumps(line) + "\n" for line in host) + end)
        paths.attempts.write_text("".join(json.dumps(line) + "\n" for line in worker) + end)
        paths.progress.write_text(json.dumps(progress))
    with story.run.paths.ledger.open("a") as handle:
        handle.write("".join(json.dumps(line) + "\n" for line in ledger) + end)
    found = run_status(story.run, NOW)
    assert 0 <= found.done <= found.total
    assert all(task.done <= task.total for task in found.everything())
    json.dumps(found.as_dict())
    assert found.seconds_left is None or found.seconds_left >= 0

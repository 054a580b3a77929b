"""status, logs and runs as their users see them, beside a SLURM of programs on PATH."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from segbatch.cluster.slurm.client import Slurm
from segbatch.runs.layout import FINISH
from tests.support.fake_slurm import FakeSlurm
from tests.support.slurm_runs import Story, write_run
from tests.support.waiting import WAIT_S, until


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeSlurm]:
    with FakeSlurm(tmp_path) as found:
        yield found


def segbatch(fake: FakeSlurm, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "segbatch", *arguments],
        cwd=fake.folder,
        env=fake.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
    )


def submitted(fake: FakeSlurm, tasks: int = 3, run_id: str = "20260101-000000-0000", ago: float = 600) -> Story:
    """A run in the queue of the fake, and a folder that knows of it."""
    story = Story(write_run(fake.folder, tasks=tasks, run_id=run_id), now=time.time() - ago)
    for role, indexes in (("tasks", f"0-{tasks - 1}"), (FINISH, "0")):
        token = f"{role}-{run_id}-{story.round}"
        script = story.run.paths.folder / f"script-{role}.sbatch"
        script.write_text(f"#!/bin/bash\n#SBATCH --comment=segbatch:{token}\n#SBATCH --array={indexes}\n")
        job, _ = Slurm(fake.environ).submit(script.name, script.parent)
        story.submit(indexes, job, role=role, token=token)
    return story


def job_of(story: Story, role: str = "tasks") -> str:
    lines = [json.loads(line) for line in story.run.paths.ledger.read_text().splitlines()]
    token = next(line["token"] for line in reversed(lines) if line.get("role") == role)
    return next(line["job"] for line in lines if line["token"] == token and "job" in line)


def test_status_tells_what_the_queue_knows(fake: FakeSlurm) -> None:
    story = submitted(fake)
    job = job_of(story)
    fake.task(f"{job}_0").reason = "Resources"
    fake.start(f"{job}_1", node="node7")
    answer = segbatch(fake, "status", str(story.run.paths.folder), "--json")
    assert answer.returncode == 0, answer.stderr
    found = json.loads(answer.stdout)
    assert (found["state"], found["backend"], found["notes"]) == ("running", "slurm", [])
    assert [task["state"] for task in found["tasks"]] == ["queued", "running", "queued"]
    assert found["tasks"][0]["scheduler"] == "PENDING (Resources)"
    assert found["tasks"][1]["host"] == "node7"
    shown = segbatch(fake, "status").stdout
    assert "PENDING (Resources)" in shown
    assert str(story.run.paths.folder) in shown


def test_status_names_causes_with_the_logs_lines_and_the_next_command(fake: FakeSlurm) -> None:
    story = submitted(fake)
    job = job_of(story)
    for task in range(3):
        fake.start(f"{job}_{task}")
        story.start(task, f"{job}_{task}")
    fake.end(f"{job}_0", state="OUT_OF_MEMORY")
    story.end(1, 1, "end", "failed", job=f"{job}_1", message="ValueError: broken")
    story.log(1, "Traceback (most recent call last):\nValueError: broken", f"{job}_1")
    shown = segbatch(fake, "status", str(story.run.paths.folder)).stdout
    assert "host out of memory" in shown
    assert "resources.memory" in shown
    assert "ValueError: broken" in shown
    assert f"segbatch logs {story.run.paths.folder} 1" in shown


def test_status_is_right_while_slurm_is_down_and_says_so(fake: FakeSlurm) -> None:
    story = submitted(fake)
    story.start(0, f"{job_of(story)}_0")
    fake.controller = fake.accounting = "down"
    answer = segbatch(fake, "status", str(story.run.paths.folder))
    assert answer.returncode == 0
    assert "running" in answer.stdout
    assert "the queue cannot be asked" in answer.stdout


def test_status_of_a_thousand_tasks_is_a_page(fake: FakeSlurm) -> None:
    story = submitted(fake, tasks=1000)
    job = job_of(story)
    for task in range(40):
        fake.start(f"{job}_{task}")
        story.start(task, f"{job}_{task}")
        fake.end(f"{job}_{task}", state="FAILED", code=1)
        story.end(task, 1, "end", "failed", job=f"{job}_{task}", message="ResourceExhaustedError: OOM when allocating")
    shown = segbatch(fake, "status", str(story.run.paths.folder)).stdout
    assert len(shown.splitlines()) < 20
    assert "40 tasks: GPU out of memory" in shown
    assert "such as task 0 on node1" in shown
    assert "960 queued" in shown
    everything = json.loads(segbatch(fake, "status", str(story.run.paths.folder), "--json").stdout)
    assert len(everything["tasks"]) == 1000


@pytest.mark.parametrize(("code", "expected"), [(0, 0), (3, 3), (1, 1)])
def test_watch_stays_until_the_run_is_over_and_exits_as_it_did(fake: FakeSlurm, code: int, expected: int) -> None:
    story = submitted(fake, tasks=1)
    job, last = job_of(story), job_of(story, FINISH)
    story.start(0, f"{job}_0")
    outcomes: list[subprocess.CompletedProcess[str]] = []
    watching = threading.Thread(
        target=lambda: outcomes.append(segbatch(fake, "status", str(story.run.paths.folder), "--watch"))
    )
    watching.start()
    until(lambda: fake.calls["squeue"])
    story.now = time.time()
    story.end(0, job=f"{job}_0")
    story.start(FINISH, f"{last}_0")
    assert not outcomes
    story.end(FINISH, code, job=f"{last}_0", message="10 of 10 tiles are missing" if code == 1 else "")
    watching.join(WAIT_S)
    assert outcomes[0].returncode == expected, outcomes[0].stdout
    assert ("failed" if code == 1 else "done") in outcomes[0].stdout
    assert fake.calls["squeue"] == 1


def test_logs_of_all_rounds_stand_under_their_paths_newest_last(fake: FakeSlurm) -> None:
    story = submitted(fake)
    first = job_of(story)
    story.log(2, "first try", f"{first}_2")
    story.round = 2
    story.submit("2", "900", token="again")
    story.log(2, "second try", "900_2")
    answer = segbatch(fake, "logs", str(story.run.paths.folder), "2").stdout
    one, two = (story.run.paths.logs / f"{job}_2.log" for job in (first, "900"))
    assert answer.index(f"==> {one} <==") < answer.index("first try") < answer.index(f"==> {two} <==")
    assert answer.index(f"==> {two} <==") < answer.index("second try")


def test_logs_of_failed_tasks_alone(fake: FakeSlurm) -> None:
    story = submitted(fake)
    job = job_of(story)
    for task in range(3):
        fake.start(f"{job}_{task}")
        story.start(task, f"{job}_{task}")
        story.log(task, f"words of {task}", f"{job}_{task}")
    story.end(0, job=f"{job}_0")
    story.end(1, 1, job=f"{job}_1", message="ValueError")
    fake.end(f"{job}_2", state="NODE_FAIL")
    answer = segbatch(fake, "logs", str(story.run.paths.folder), "--failed").stdout
    assert "words of 0" not in answer
    assert "words of 1" in answer
    assert "words of 2" in answer


def test_logs_follow_new_files_until_the_run_is_over(fake: FakeSlurm) -> None:
    story = submitted(fake, tasks=1)
    job, last = job_of(story), job_of(story, FINISH)
    story.start(0, f"{job}_0")
    story.log(0, "first words", f"{job}_0")
    process = subprocess.Popen(
        [sys.executable, "-m", "segbatch", "logs", str(story.run.paths.folder), "-f"],
        env=fake.environ | {"PYTHONUNBUFFERED": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    head = [process.stdout.readline() for _ in range(3)]
    assert "first words" in head[2]
    story.now = time.time()
    story.end(0, job=f"{job}_0")
    story.start(FINISH, f"{last}_0")
    story.log(FINISH, "report of 10 tiles", f"{last}_0")
    assert "report of 10 tiles" in "".join(process.stdout.readline() for _ in range(3))
    story.end(FINISH, job=f"{last}_0")
    assert process.wait(WAIT_S) == 0


def test_a_task_that_is_not_there_is_named(fake: FakeSlurm) -> None:
    story = submitted(fake)
    refused = segbatch(fake, "logs", str(story.run.paths.folder), "7")
    assert refused.returncode == 2
    assert "from 0 to 2" in refused.stderr
    assert "no log yet" in segbatch(fake, "logs", str(story.run.paths.folder), "1").stdout


def test_runs_are_filtered_and_ask_the_queue_once(fake: FakeSlurm) -> None:
    for day in (1, 2):
        submitted(fake, run_id=f"2026010{day}-000000-0000")
    write_run(fake.folder, run_id="20260103-000000-0000", kind="evaluate")
    old = write_run(fake.folder, run_id="20250101-000000-0000", created="2025-01-01T00:00:00+00:00")
    listed = segbatch(fake, "runs")
    assert listed.returncode == 0, listed.stderr
    assert listed.stdout.count("queued") == 2
    assert old.label in listed.stdout
    assert fake.calls["squeue"] == 1
    expected = {
        ("--backend", "slurm"): 2,
        ("--backend", "local"): 0,
        ("--kind", "evaluate"): 1,
        ("--state", "pending"): 2,
        ("--since", "2025-06-01"): 3,
        ("--job", "other"): 0,
    }
    for filters, number in expected.items():
        answer = segbatch(fake, "runs", *filters, "--json")
        found = json.loads(answer.stdout)
        assert len(found) == number, filters
    assert fake.calls["squeue"] == 1  # One answer serves all these commands.


@pytest.mark.parametrize(
    ("arguments", "words"), [(["--since", "soon"], "expected a date"), (["--state", "dead"], "expected one of pending")]
)
def test_wrong_filters_get_one_message(fake: FakeSlurm, arguments: list[str], words: str) -> None:
    refused = segbatch(fake, "runs", *arguments)
    assert refused.returncode == 2
    assert words in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_run_without_slurm_never_calls_it(fake: FakeSlurm) -> None:
    run = write_run(fake.folder)
    assert "never started" in segbatch(fake, "status", str(run.paths.folder)).stdout
    assert not fake.calls


def test_help_of_these_commands_is_quick_to_load() -> None:
    code = (
        "import sys\nfrom segbatch.cli import cli\n"
        "for name in ('status', 'logs', 'runs'):\n"
        "    try: cli.main([name, '--help'])\n    except SystemExit: pass\n"
        "print(sorted({'rich', 'pydantic', 'segbatch.cluster.observe'} & set(sys.modules)), file=sys.stderr)"
    )
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ))
    assert outcome.stderr.strip() == "[]"

"""Temporary files of killed attempts go away, and those that somebody is writing stay."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

from segbatch.runs.attempts import end_attempt
from segbatch.runs.files import append_line, maker_of, temporary_name
from segbatch.runs.journal import claim_attempt
from segbatch.runs.leftovers import remove_leftovers
from segbatch.runs.process import process_identity
from segbatch.runs.run import Run
from tests.support.proven_runs import finished_run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A finished run of two tasks."""
    return finished_run(tmp_path, tiles=4, tasks=2)


def gone() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def attempt(run: Run, task: int, identity: dict[str, object]) -> int:
    number = claim_attempt(run.paths.task(task))
    append_line(run.paths.task(task).attempts, {"event": "start", "attempt": number, "time": 0.0, **identity})
    return number


def unfinished(path: Path, pid: int) -> Path:
    """A temporary file of a process for `path`."""
    name = temporary_name(path).name.replace(f".{os.getpid()}-", f".{pid}-")
    path.with_name(name).write_bytes(b"half")
    return path.with_name(name)


def test_a_temporary_name_tells_its_process() -> None:
    assert maker_of(temporary_name(Path("a.b-c.png")).name) == os.getpid()
    assert [maker_of(name) for name in ("a.png", ".a.png", "a.12-abcdef01.tmp", ".a.tmp", ".a.x-abcdef01.tmp")] == [
        None
    ] * 5


def test_files_of_the_dead_go_and_those_of_the_living_stay(run: Run) -> None:
    dead = gone()
    attempt(run, 0, {"host": socket.gethostname(), "pid": dead, "started": 1})
    attempt(run, 1, process_identity(os.getpid()))
    mask = next(run.paths.masks.rglob("*.png"))
    of_dead = [unfinished(mask, dead), unfinished(run.paths.task(0).progress, dead)]
    of_living = unfinished(mask, os.getpid())
    assert remove_leftovers(run) == 2
    assert not any(path.exists() for path in of_dead)
    assert of_living.exists()
    assert mask.exists()


def test_young_files_of_other_machines_stay(run: Run) -> None:
    attempt(run, 0, {"host": "elsewhere", "pid": 77, "started": 1})
    mask = next(run.paths.masks.rglob("*.png"))
    young, old = unfinished(mask, 77), unfinished(mask, 77)
    past = old.stat().st_mtime - 3600
    os.utime(old, (past, past))
    assert remove_leftovers(run) == 1
    assert young.exists()


def test_no_folder_is_read_where_every_attempt_wrote_its_end(run: Run) -> None:
    number = attempt(run, 0, {"host": "elsewhere", "pid": 77, "started": 1})
    end_attempt(run.paths.task(0), number, 0)
    mask = next(run.paths.masks.rglob("*.png"))
    left = unfinished(mask, 77)
    assert remove_leftovers(run) == 0
    assert left.exists()

"""Starts and ends of a task's attempts."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from segbatch.runs.files import append_line, read_lines
from segbatch.runs.journal import claim_attempt
from segbatch.runs.layout import TaskPaths
from segbatch.runs.process import process_identity

SCHEDULER_VARIABLES = ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_RESTART_COUNT")


@dataclass(frozen=True)
class Attempt:
    """One try at a task."""

    number: int
    """From 1."""
    start: Mapping[str, Any]
    """Host, pid, time and the scheduler's own ids."""
    end: Mapping[str, Any] | None
    """Exit code, time and message; None while it runs, or if it was killed."""


def begin_attempt(task: TaskPaths, environ: Mapping[str, str] = os.environ) -> int:
    """Claim the next attempt and write that it starts."""
    number = claim_attempt(task)
    scheduler = {name: environ[name] for name in SCHEDULER_VARIABLES if name in environ}
    line = {"event": "start", "attempt": number, "time": time.time(), **process_identity(os.getpid())}
    append_line(task.attempts, line | ({"scheduler": scheduler} if scheduler else {}))
    return number


def end_attempt(task: TaskPaths, number: int, code: int, message: str = "") -> None:
    """Write that an attempt ended by itself, with its exit code and, if it failed, why."""
    append_line(
        task.attempts, {"event": "end", "attempt": number, "time": time.time(), "code": code, "message": message}
    )


def read_attempts(task: TaskPaths) -> list[Attempt]:
    """Return a task's attempts in order."""
    starts: dict[int, Mapping[str, Any]] = {}
    ends: dict[int, Mapping[str, Any]] = {}
    for line in read_lines(task.attempts):
        if isinstance(line.get("attempt"), int):
            (starts if line.get("event") == "start" else ends)[line["attempt"]] = line
    return [Attempt(number, starts[number], ends.get(number)) for number in sorted(starts)]

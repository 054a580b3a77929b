"""What the batch script of a task wrote on its node: a line when an attempt starts, one when it ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from segbatch.runs.files import read_lines
from segbatch.runs.layout import TaskPaths


@dataclass(frozen=True)
class HostAttempt:
    """One attempt as the batch script saw it, whether or not a worker ever started."""

    job: str
    """What the scheduler's commands take: `123_4`."""
    raw: str
    """The scheduler's own id of this task: `127`."""
    restart: int
    """How often the scheduler had started this job before."""
    node: str
    token: str
    """Token of the submission that it belongs to."""
    round: int
    """Round of submissions that it belongs to, from 1."""
    started: float
    """Seconds since the epoch."""
    ended: float | None
    """Seconds since the epoch; None while it runs, or if it was killed."""
    code: int | None
    """Exit code of the worker, 128 and more for a signal."""
    seconds: float | None
    """How long the worker ran."""
    then: str
    """What the script did next: requeue, end, stopped, cancelled, exhausted; empty if that failed or is to come."""
    why: str
    """In words, such as `time limit` or `no retry helps`; may be empty."""


def read_host(task: TaskPaths) -> list[HostAttempt]:
    """Return the attempts that batch scripts made at a task, oldest first; a start without an end stays open."""
    pairs: list[tuple[Mapping[str, Any], Mapping[str, Any] | None]] = []
    latest: dict[tuple[str, int], int] = {}
    asked: dict[int, Mapping[str, Any]] = {}
    for line in read_lines(task.host):
        key = str(line.get("job", "")), whole(line.get("restart")) or 0
        if line.get("event") == "end" and key in latest:
            pairs[latest[key]] = pairs[latest[key]][0], line
        elif line.get("event") == "end":
            # Its start was lost, with a full disk; the end says as much.
            pairs.append((line, line))
        elif line.get("event") == "requeue" and key in latest and pairs[latest[key]][1] is None:
            asked[latest[key]] = line
        elif line.get("event") == "requeue" and key in latest:
            # The script may be killed before it can write an end.
            pairs[latest[key]] = pairs[latest[key]][0], line
        elif line.get("event") == "start":
            latest[key] = len(pairs)
            pairs.append((line, None))
    found = (_attempt(start, end, asked.get(place)) for place, (start, end) in enumerate(pairs))
    return sorted(found, key=lambda attempt: attempt.started)


def _attempt(start: Mapping[str, Any], end: Mapping[str, Any] | None, asked: Mapping[str, Any] | None) -> HostAttempt:
    # A task that asked to be requeued and was killed before its last line comes back all the same.
    last = end or ({"then": "requeue", "why": asked.get("why", "")} if asked else {})
    return HostAttempt(
        job=str(start.get("job", "")),
        raw=str(start.get("raw", "")),
        restart=whole(start.get("restart")) or 0,
        node=str(start.get("node", "")),
        token=str(start.get("token", "")),
        round=whole(start.get("round")) or 0,
        started=number(start.get("time")) or 0.0,
        ended=(number(end.get("time")) or 0.0) if end is not None else None,
        code=whole(last.get("code")),
        seconds=number(last.get("seconds")),
        then=str(last.get("then", "")),
        why=str(last.get("why", "")),
    )


def number(value: object) -> float | None:
    """Return a finite number as it is, and None for anything else that a damaged file may hold."""
    good = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15
    return float(value) if good else None  # type: ignore[arg-type]


def whole(value: object) -> int | None:
    """Return a number without its fraction, and None for anything that is no number."""
    found = number(value)
    return None if found is None else int(found)

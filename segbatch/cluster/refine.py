"""What squeue and sacct add to what the files of a task tell. Pure: values in, values out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from segbatch.cluster.slurm.rows import AccountRow, QueueRow
from segbatch.cluster.slurm.states import JobState
from segbatch.runs.arrays import Array
from segbatch.runs.task_status import GONE_BEFORE_START, TaskState, TaskStatus

SETTLE_S = 90.0
"""Seconds that a shared file system may take to show what was written on a node."""
NOTHING_WRITTEN = "SLURM says that it ended well, yet it wrote nothing here"
OURS = "segbatch:"


@dataclass(frozen=True)
class Sighting:
    """What the scheduler says of one task, with the words that its files cannot tell."""

    state: str = ""
    """Such as OUT_OF_MEMORY."""
    reason: str = ""
    code: int | None = None
    signal: int = 0
    by: str = ""
    """User id or name of who cancelled it."""
    dependency: str = ""


Rows = Mapping[tuple[str, int], QueueRow]
"""By token and index in the array."""


def our_rows(rows: Iterable[QueueRow]) -> Rows:
    """Sort out the rows of our jobs: those with our comment, since ids are used again."""
    found: dict[tuple[str, int], QueueRow] = {}
    for row in rows:
        if row.comment.startswith(OURS):
            found[row.comment.removeprefix(OURS), row.index or 0] = row
    return found


def with_row(task: TaskStatus, array: Array, row: QueueRow, taken: float, now: float) -> tuple[TaskStatus, Sighting]:
    """Lay a row of the queue over a task; what the files say later than the queue counts more.

    Args:
        task: as its files tell it.
        array: the array that it is part of.
        row: what squeue says of it.
        taken: when squeue said so, seconds since the epoch.
        now: seconds since the epoch.
    """
    # Batch scripts count whole seconds.
    state, fresh = row.state, taken >= (task.heard or 0.0) + 1
    seen = Sighting(state.name, row.reason, row.exit_code, row.exit_signal, state.by, row.dependency)
    told = replace(
        task,
        job=row.job,
        scheduler=f"{state.name} ({row.reason})" if row.reason and state.phase == "waiting" else state.name,
        expected=row.start if state.phase == "waiting" else "",
        # What was cancelled while it waited has no node, and was no attempt.
        attempts=max(task.attempts, row.restarts + (state.phase != "waiting" and bool(row.nodes))),
    )
    if state.phase == "waiting" and fresh:
        return replace(told, state="queued", rate=None), seen
    if state.phase == "running" and (not task.over or _inferred(task)):
        left = None if row.time_left_s is None else max(row.time_left_s - int(now - taken), 0)
        message = "" if _inferred(task) else task.message
        return replace(told, state="running", message=message, host=row.nodes or task.host, time_left_s=left), seen
    if state.phase == "over" and fresh and (_open(task) or task.message == GONE_BEFORE_START):
        return _ended(told, array, seen, state, row.nodes, now), seen
    return told, seen if state.phase == "over" and not state.good else Sighting()


def with_account(
    task: TaskStatus, array: Array, rows: Sequence[AccountRow], now: float
) -> tuple[TaskStatus, Sighting | None]:
    """Lay what accounting knows over a task that has left the queue.

    Args:
        task: as its files tell it.
        array: the array that it is part of.
        rows: all incarnations of it in accounting; may be empty.
        now: seconds since the epoch.
    """
    if not rows:
        return task, None
    last = max(rows, key=lambda row: (row.submitted or 0.0, row.started or 0.0))
    state = last.state
    seen = Sighting(state.name, last.reason, last.exit_code, last.exit_signal, state.by)
    starts = sum(row.started is not None and bool(row.nodes) for row in rows)
    told = replace(task, scheduler=state.name, attempts=max(task.attempts, starts), host=task.host or last.nodes)
    if state.phase == "over" and (_open(task) or task.message == GONE_BEFORE_START):
        return _ended(told, array, seen, state, last.nodes, now), seen
    return told, seen


def gone(task: TaskStatus, array: Array, now: float) -> TaskStatus:
    """Judge an open task that is in no queue; its last lines may still be on their way through the file system."""
    if not _open(task):
        return task
    told = task.scheduler or "left the queue"
    if now - max(task.heard or 0.0, array.opened) < SETTLE_S:
        return replace(task, scheduler=told)
    return replace(task, state="killed", scheduler=told, rate=None)


def left_queue(task: TaskStatus, array: Array, taken: float) -> bool:
    """Tell whether an open task without a row was in the queue before that was asked, and so is there no more."""
    return _open(task) and bool(array.job) and taken > max(task.heard or 0.0, array.opened) + 1


def unexplained(task: TaskStatus) -> bool:
    """Tell whether accounting may know more of how a task ended than its files do."""
    by_signal = task.code is not None and task.code > 128
    return task.state == "killed" or task.message == GONE_BEFORE_START or (task.state == "failed" and by_signal)


def _inferred(task: TaskStatus) -> bool:
    """Tell whether the end of a task was concluded from the start of the finishing job, and written by nobody."""
    return task.state == "killed" or task.message == GONE_BEFORE_START


def _open(task: TaskStatus) -> bool:
    return task.state in ("queued", "running")


def _ended(task: TaskStatus, array: Array, seen: Sighting, state: JobState, nodes: str, now: float) -> TaskStatus:
    """Judge a task that SLURM has ended and that wrote nothing of its end."""
    task = replace(task, host=task.host or nodes, rate=None)
    if state.good:
        if now - max(task.heard or 0.0, array.opened) < SETTLE_S:
            return task
        return replace(task, state="failed", message=NOTHING_WRITTEN)
    verdict: TaskState = "failed" if state.cause == "failed" else "killed"
    return replace(task, state=verdict, code=seen.code if verdict == "failed" else None)

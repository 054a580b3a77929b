"""What became of one task, told from its files alone."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from segbatch.errors import Exit
from segbatch.runs.arrays import Array, Arrays, read_arrays
from segbatch.runs.attempts import Attempt, read_attempts
from segbatch.runs.host import HostAttempt, number, read_host, whole
from segbatch.runs.layout import FINISH
from segbatch.runs.process import alive
from segbatch.runs.progress import read_progress
from segbatch.runs.run import Run

TaskState = Literal["pending", "queued", "running", "done", "interrupted", "failed", "killed", "unknown"]
SILENT_S = 120.0
"""Seconds without a sign of a running task after which that is worth a word."""
GONE_BEFORE_START = "the scheduler ended it before its batch script wrote a line"


@dataclass(frozen=True)
class Cause:
    """Why a task failed or does not start."""

    kind: str
    """Short and the same for all tasks that share it, such as `time limit`."""
    line: str
    """One sentence."""
    excerpt: tuple[str, ...] = ()
    """The log's telling lines."""
    next: str = ""
    """What to do: a command, or what to change."""


@dataclass(frozen=True)
class TaskStatus:
    """One task as its files tell it, and after `observe` as the scheduler does."""

    name: str
    state: TaskState
    attempts: int
    """Those that never reached the worker included."""
    host: str
    done: int
    total: int
    unit: str
    rate: float | None
    """Units a second of the current attempt."""
    note: str
    code: int | None
    """Exit code of the last attempt, if it ended by itself."""
    message: str
    """Why the last attempt failed."""
    why: str = ""
    """Why the batch script ended or requeued its last attempt, in its words, such as `time limit`."""
    heard: float | None = None
    """When the last attempt gave its last sign: seconds since the epoch."""
    job: str = ""
    """What the scheduler's commands take: `123_4`."""
    scheduler: str = ""
    """What the scheduler says, such as `PENDING (Resources)`."""
    expected: str = ""
    """When the scheduler means to start it."""
    time_left_s: int | None = None
    """Seconds to its time limit."""
    cause: Cause | None = None

    @property
    def seconds_left(self) -> float | None:
        """Estimate from the rate; None while there is none."""
        if not self.rate or self.state != "running":
            return None
        return max(self.total - self.done, 0) / self.rate

    @property
    def over(self) -> bool:
        """Whether nothing more will come of it by itself."""
        return self.state in ("done", "interrupted", "failed", "killed")

    def silent(self, now: float) -> float | None:
        """Seconds since a running task gave a sign, if that is worth a word."""
        quiet = now - self.heard if self.state == "running" and self.heard is not None else 0.0
        return quiet if quiet > SILENT_S else None


@dataclass(frozen=True)
class _Verdict:
    state: TaskState
    code: int | None = None
    message: str = ""
    why: str = ""


def task_status(run: Run, name: int | str, arrays: Arrays | None = None, now: float | None = None) -> TaskStatus:
    """Tell what became of one task (or of the finishing one) from its files.

    Args:
        run: the run.
        name: a task's number, or `finish`.
        arrays: what the run has at SLURM, if it was read already.
        now: seconds since the epoch.
    """
    now = time.time() if now is None else now
    arrays = read_arrays(run.paths) if arrays is None else arrays
    paths = run.paths.task(name)
    worker = read_attempts(paths)
    host = read_host(paths) if arrays.rounds else []
    array = arrays.array_of.get(name)
    progress = read_progress(paths.progress)
    if arrays.current and (array is not None or host):
        verdict = _on_slurm(name, array, worker, host, arrays, now)
    else:
        verdict = _here(worker)
    state = verdict.state
    began, last = _times(worker, host)
    updated = number(progress.get("updated")) or 0.0
    # A rate from before the newest attempt's start is another attempt's; of a silent task nobody knows it.
    fresh = updated >= began and now - updated <= SILENT_S
    done, total = _amount(run, name, progress)
    return TaskStatus(
        name=str(name),
        state=state,
        attempts=len(host) + sum(_within(attempt, host) is None for attempt in worker),
        host=_place(worker, host),
        done=done,
        total=total,
        unit=str(progress.get("unit", "tiles")),
        rate=max(number(progress.get("rate")) or 0.0, 0.0) or None if state == "running" and fresh else None,
        note=str(progress.get("note", "")),
        code=verdict.code,
        message=verdict.message,
        why=verdict.why,
        heard=max(last, updated) or None,
        job=array.element(name) if array is not None else "",
    )


def _amount(run: Run, name: int | str, progress: Mapping[str, Any]) -> tuple[int, int]:
    """Units that are done and units in all; never more done than there are."""
    kept, count = (run.kept(name), run.shard(name).count) if isinstance(name, int) else (0, 0)
    done, total = whole(progress.get("done")), whole(progress.get("total"))
    total = count if total is None or total < 0 else total
    return min(max(kept if done is None else done, 0), total), total


def _here(worker: Sequence[Attempt]) -> _Verdict:
    """Judge a task whose attempts are processes of this machine, or of another that ran `segbatch submit`."""
    if not worker:
        return _Verdict("pending")
    end = worker[-1].end
    if end is not None:
        return _ended(whole(end.get("code")), str(end.get("message", "")))
    running = alive(worker[-1].start) if whole(worker[-1].start.get("pid")) is not None else None
    return _Verdict("unknown" if running is None else "running" if running else "killed")


def _on_slurm(
    name: int | str,
    array: Array | None,
    worker: Sequence[Attempt],
    host: Sequence[HostAttempt],
    arrays: Arrays,
    now: float,
) -> _Verdict:
    """Judge a task from what its batch scripts and workers wrote; only they, since nothing here is asked."""
    latest = host[-1] if host else None
    inner = _worker_of(latest, worker, host)
    started = latest is not None and (array is None or latest.token in (array.token, ""))
    if array is not None and not started and not _of_job(inner, array):
        before = _outcome(latest, inner, over=True) if latest is not None or inner is not None else None
        return _not_started(name, array, arrays, before, now)
    over = name != FINISH and arrays.finished >= (array.round if array is not None else 1)
    # SLURM may requeue a task at the very moment when it lets the finishing job go.
    over = over and (latest is None or latest.started <= arrays.finished_at)
    return _outcome(latest if started else None, inner, over=over)


def _not_started(name: int | str, array: Array, arrays: Arrays, before: _Verdict | None, now: float) -> _Verdict:
    """Judge a task that was submitted, and of which the newest submission has not been heard."""
    cancelled = any(found.number == array.round and found.cancelled for found in arrays.rounds)
    if cancelled or array.doubtful(now):
        return before or _Verdict("pending")
    if name != FINISH and arrays.finished >= array.round:
        return _Verdict("failed", None, GONE_BEFORE_START)
    return _Verdict("queued")


def _outcome(latest: HostAttempt | None, inner: Attempt | None, *, over: bool) -> _Verdict:
    """Judge one attempt by what its batch script and its worker wrote.

    Args:
        latest: the batch script's lines, if it wrote any.
        inner: the worker's, if it was started.
        over: whether it is known that the scheduler has ended the task.
    """
    end = inner.end if inner is not None else None
    code = whole(end.get("code")) if end is not None else None
    message = str(end.get("message", "")) if end is not None else ""
    ended = _ended(code, message, latest.why if latest is not None else "") if code is not None else None
    if ended is not None and ended.state == "done":
        return ended
    if latest is None:
        return ended or _Verdict("killed" if over else "running")
    if latest.then == "requeue" and not over:
        return _Verdict("queued", None, message, latest.why)
    if latest.ended is None:
        return (ended or _Verdict("killed")) if over else _Verdict("running")
    if ended is not None:
        return ended
    return _ended(latest.code, message, latest.why)


def _ended(code: int | None, message: str, why: str = "") -> _Verdict:
    """Judge an exit code; with rejected tiles a task is done too, since it has named them."""
    states: dict[int | None, TaskState] = {0: "done", int(Exit.REJECTED): "done", int(Exit.INTERRUPTED): "interrupted"}
    return _Verdict(states.get(code, "failed"), code, message, why)


def _worker_of(latest: HostAttempt | None, worker: Sequence[Attempt], host: Sequence[HostAttempt]) -> Attempt | None:
    """Return the newest worker, unless the batch script has started anew since without reaching one."""
    if not worker or latest is None:
        return worker[-1] if worker else None
    found = _within(worker[-1], host)
    later = (number(worker[-1].start.get("time")) or 0.0) >= latest.started
    return worker[-1] if found is latest or (found is None and later) else None


def _within(attempt: Attempt, host: Sequence[HostAttempt]) -> HostAttempt | None:
    """Find the batch script's attempt that a worker's belongs to: by the scheduler's ids, else by time."""
    ids = _ids(attempt)
    raw, restart = str(ids.get("SLURM_JOB_ID", "")), str(ids.get("SLURM_RESTART_COUNT", "0"))
    started = number(attempt.start.get("time")) or 0.0
    for found in reversed(host):
        if raw and found.raw:
            if (found.raw, str(found.restart)) == (raw, restart):
                return found
        # Batch scripts count whole seconds.
        elif found.started <= started and (found.ended is None or started <= found.ended + 1):
            return found
    return None


def _ids(attempt: Attempt) -> Mapping[str, Any]:
    """Return the scheduler's variables that a worker saw."""
    found = attempt.start.get("scheduler")
    return found if isinstance(found, Mapping) else {}


def _of_job(attempt: Attempt | None, array: Array) -> bool:
    """Tell whether a worker's attempt ran under an array; its batch script could write no line."""
    if attempt is None or not array.job:
        return False
    started = number(attempt.start.get("time")) or 0.0
    return str(_ids(attempt).get("SLURM_ARRAY_JOB_ID", "")) == array.job and started >= array.opened


def _times(worker: Sequence[Attempt], host: Sequence[HostAttempt]) -> tuple[float, float]:
    """When the newest attempt began, and when it wrote its newest line; zeros without one."""
    starts = [host[-1].started] if host else []
    ends = [host[-1].ended or 0.0] if host else []
    if worker:
        starts.append(number(worker[-1].start.get("time")) or 0.0)
        ends.append(number((worker[-1].end or {}).get("time")) or 0.0)
    return max(starts, default=0.0), max(starts + ends, default=0.0)


def _place(worker: Sequence[Attempt], host: Sequence[HostAttempt]) -> str:
    """Node of the newest attempt, as the batch script or else the worker calls it."""
    inner = _worker_of(host[-1] if host else None, worker, host)
    if host and (inner is None or _within(inner, host) is not None):
        return host[-1].node
    return str(inner.start.get("host", "")) if inner is not None else ""

"""What a run has at SLURM: arrays of tasks and finishing jobs, by the round of submissions that they came in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from segbatch.runs.host import number, read_host, whole
from segbatch.runs.indexes import expand_indexes
from segbatch.runs.layout import FINISH, RunPaths
from segbatch.runs.ledger import Submission, submissions

SLURM = "slurm"
UNANSWERED_S = 60.0
"""Seconds after which a submission without a second line has lost the command that made it."""


@dataclass(frozen=True)
class Array:
    """One array given to sbatch."""

    token: str
    state: Literal["submitting", "submitted", "refused", "uncertain", "cancelled", "ended"]
    round: int
    """From 1."""
    role: Literal["tasks", "finish"]
    job: str
    """The array's id; empty while sbatch has not said it."""
    cluster: str
    script: str
    """File name within the run folder."""
    offset: int
    """Number of a task less its index in the array."""
    indexes: str
    """As sbatch got them."""
    opened: float
    """Seconds since the epoch, before sbatch was called."""
    words: str
    """What SLURM said to a refused or uncertain submission."""
    user: str
    """Who submitted."""

    def tasks(self) -> Sequence[int]:
        """Return the numbers of its tasks; none of a finishing job or a damaged line."""
        if self.role == FINISH:
            return ()
        try:
            return [index + self.offset for index in expand_indexes(self.indexes)]
        except ValueError:
            return ()

    def element(self, task: int | str) -> str:
        """Return what the scheduler's commands take for a task: `123_4`; empty while the id is not known."""
        return f"{self.job}_{self.index(task)}" if self.job else ""

    def index(self, task: int | str) -> int:
        """Return a task's index in the array."""
        return 0 if task == FINISH else int(task) - self.offset

    def doubtful(self, now: float) -> bool:
        """Tell whether nobody knows if sbatch queued it."""
        return self.state == "uncertain" or (self.state == "submitting" and now - self.opened > UNANSWERED_S)


@dataclass(frozen=True)
class Round:
    """One submit, resume or requeue."""

    number: int
    arrays: tuple[Array, ...]
    """Oldest first; those that SLURM refused among them."""
    stopped: str
    """Why its scripts stopped the rest of it, in words; empty if they did not."""
    cancelled: bool
    """Whether `segbatch cancel` was said."""

    @property
    def finish(self) -> Array | None:
        """The finishing job that counts; None if there is none."""
        found = (array for array in reversed(self.arrays) if array.role == FINISH and array.state != "refused")
        return next(found, None)


@dataclass(frozen=True)
class Arrays:
    """All that a run has had at SLURM, and whether that is where it is now."""

    rounds: tuple[Round, ...]
    """Oldest first; empty for a run that was never given to SLURM."""
    current: bool
    """Whether the newest submission of the run went to SLURM, and not to this machine."""
    finished: int
    """Newest round whose finishing job has started, and thus whose tasks are over; 0 if none has."""
    finished_at: float
    """When that job first started."""
    array_of: Mapping[int | str, Array]
    """The newest array that each task is part of."""

    @property
    def newest(self) -> Round | None:
        """The round that counts now."""
        return self.rounds[-1] if self.rounds else None

    def logs(self, task: int | str) -> list[str]:
        """Return the names of a task's log files on SLURM, newest last, whether or not they exist."""
        known = [array for found in self.rounds for array in found.arrays if array.job]
        mine = (array for array in known if (array.role == FINISH if task == FINISH else task in array.tasks()))
        return [f"{array.element(task)}.log" for array in mine]


def read_arrays(paths: RunPaths) -> Arrays:
    """Read a run's ledger and the marks of its rounds."""
    ledger = submissions(paths)
    arrays = [_heard_of(paths, _array(found)) for found in ledger if found.facts.get("backend") == SLURM]
    current = bool(ledger) and ledger[-1].facts.get("backend") == SLURM
    starts = [(attempt.round, attempt.started) for attempt in read_host(paths.task(FINISH))] if arrays else []
    finished = max((number for number, _ in starts), default=0)
    finished_at = min((started for number, started in starts if number == finished), default=0.0)
    return _in_rounds(paths, arrays, current, finished, finished_at)


def confirmed(paths: RunPaths, arrays: Arrays, jobs: Mapping[str, str]) -> Arrays:
    """Take note of jobs that the queue knows, for submissions of which nobody knew whether they were queued.

    Args:
        paths: files of the run.
        arrays: what is known of the run.
        jobs: token -> id of the array.
    """
    every = [
        replace(array, state="submitted", job=jobs[array.token]) if not array.job and array.token in jobs else array
        for found in arrays.rounds
        for array in found.arrays
    ]
    return _in_rounds(paths, every, arrays.current, arrays.finished, arrays.finished_at)


def _heard_of(paths: RunPaths, array: Array) -> Array:
    """Take a submission without an answer for queued once one of its tasks has written a line."""
    if array.state not in ("submitting", "uncertain"):
        return array
    names: Sequence[int | str] = [FINISH] if array.role == FINISH else array.tasks()
    for name in names:
        for attempt in read_host(paths.task(name)):
            if attempt.token == array.token:
                return replace(array, state="submitted", job=attempt.job.partition("_")[0])
    return array


def _in_rounds(paths: RunPaths, arrays: Sequence[Array], current: bool, finished: int, finished_at: float) -> Arrays:
    by_round: dict[int, list[Array]] = {}
    array_of: dict[int | str, Array] = {}
    for array in arrays:
        by_round.setdefault(array.round, []).append(array)
        if array.state == "refused":
            continue
        if array.role == FINISH:
            array_of[FINISH] = array
        array_of |= dict.fromkeys(array.tasks(), array)
    rounds = [_round(paths, number, tuple(found)) for number, found in sorted(by_round.items())]
    return Arrays(tuple(rounds), current, finished, finished_at, array_of)


def _round(paths: RunPaths, number: int, arrays: tuple[Array, ...]) -> Round:
    folder = paths.round(number)
    try:
        stopped = (folder / "stopped").read_text(errors="replace").strip() or "stopped"
    except OSError:
        stopped = ""
    cancelled = (folder / "cancelled").exists() or any(array.state == "cancelled" for array in arrays)
    return Round(number, arrays, stopped, cancelled)


def _array(submission: Submission) -> Array:
    facts = submission.facts
    return Array(
        token=submission.token,
        state=submission.state,
        round=whole(facts.get("round")) or 1,
        role="finish" if facts.get("role") == FINISH else "tasks",
        job=str(facts.get("job", "")),
        cluster=str(facts.get("cluster", "")),
        script=str(facts.get("script", "")),
        offset=whole(facts.get("offset")) or 0,
        indexes=str(facts.get("indexes", "")),
        opened=number(facts.get("opened")) or 0.0,
        words=str(facts.get("words", "")),
        user=str(facts.get("user", "")),
    )

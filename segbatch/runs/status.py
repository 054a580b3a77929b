"""What became of a run, told from its folder alone."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from segbatch.errors import Exit
from segbatch.runs.arrays import Arrays, Round, read_arrays
from segbatch.runs.host import whole
from segbatch.runs.layout import FINISH
from segbatch.runs.ledger import submissions
from segbatch.runs.process import alive
from segbatch.runs.run import Run
from segbatch.runs.task_status import Cause, TaskState, TaskStatus, task_status

__all__ = ["Cause", "RunState", "RunStatus", "TaskState", "TaskStatus", "run_status", "runner_alive", "task_status"]

RunState = Literal["pending", "queued", "running", "done", "interrupted", "failed", "killed", "cancelled", "unknown"]
WORST_FIRST = (Exit.FAILED, Exit.BAD_INPUT, Exit.TOO_MANY_REJECTED, Exit.INTERRUPTED)
"""Of the exit codes of a run's tasks, the one that becomes the run's."""


@dataclass(frozen=True)
class RunStatus:
    """A run as its files tell it."""

    run: Run
    state: RunState
    tasks: tuple[TaskStatus, ...]
    finish: TaskStatus
    code: int | None
    """Exit code of the run, once it is over."""
    hint: str
    """What to do next; may be empty."""
    notes: tuple[str, ...] = ()
    """What else one should know: submissions in doubt, refusals, what could not be asked."""
    backend: Literal["", "local", "slurm"] = ""
    """Where its newest submission went; empty if there was none."""
    asked: float | None = None
    """When the scheduler gave the answer that is used here: seconds since the epoch; None for the folder alone."""

    @property
    def label(self) -> str:
        """How commands name the run."""
        return self.run.label

    @property
    def folder(self) -> Path:
        """Folder of the run."""
        return self.run.paths.folder

    @property
    def words(self) -> str:
        """Its state in words."""
        return self.state

    @property
    def over(self) -> bool:
        """Whether nothing more will come of it by itself, as far as one can tell."""
        return self.state not in ("running", "queued")

    @property
    def exit_code(self) -> int:
        """What a command that waited for the run ends with."""
        return int(Exit.FAILED) if self.code is None else self.code

    @property
    def done(self) -> int:
        """Finished units of work over all tasks."""
        return sum(task.done for task in self.tasks)

    @property
    def total(self) -> int:
        """Units of work over all tasks."""
        return sum(task.total for task in self.tasks)

    @property
    def rate(self) -> float:
        """Units a second over the running tasks."""
        return sum(task.rate or 0 for task in self.tasks if task.state == "running")

    @property
    def seconds_left(self) -> float | None:
        """Estimate for the whole run; None while there is none."""
        return (self.total - self.done) / self.rate if self.rate > 0 else None

    def counts(self) -> Mapping[str, int]:
        """Number of tasks in each state."""
        return Counter(task.state for task in self.tasks)

    def everything(self) -> tuple[TaskStatus, ...]:
        """Return all tasks and the finishing one."""
        return (*self.tasks, self.finish)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for `status --json`."""
        return {
            "run": self.run.label,
            "folder": str(self.run.paths.folder),
            "kind": self.run.record.kind,
            "backend": self.backend,
            "state": self.state,
            "code": self.code,
            "done": self.done,
            "total": self.total,
            "rate": round(self.rate, 3),
            "seconds_left": self.seconds_left,
            "tasks": [asdict(task) for task in self.tasks],
            "finish": asdict(self.finish),
            "hint": self.hint,
            "notes": list(self.notes),
            "asked": self.asked,
        }


def run_status(run: Run, now: float | None = None, arrays: Arrays | None = None) -> RunStatus:
    """Tell what became of a run from its folder alone: the ledger, the attempts and the progress of its tasks.

    Args:
        run: the run.
        now: seconds since the epoch.
        arrays: what the run has at SLURM, if it was read already.
    """
    now = time.time() if now is None else now
    arrays = read_arrays(run.paths) if arrays is None else arrays
    tasks = tuple(task_status(run, number, arrays, now) for number in run.current_tasks)
    finish = task_status(run, FINISH, arrays, now)
    return judged(run, arrays, tasks, finish, now)


def judged(
    run: Run, arrays: Arrays, tasks: tuple[TaskStatus, ...], finish: TaskStatus, now: float, notes: Sequence[str] = ()
) -> RunStatus:
    """Make a run's status of the status of its tasks.

    Args:
        run: the run.
        arrays: what it has at SLURM.
        tasks: its current tasks.
        finish: its finishing task.
        now: seconds since the epoch.
        notes: what to say besides.
    """
    newest = arrays.newest
    if arrays.current and newest is not None:
        state, code = _on_slurm(newest, tasks, finish, now)
        said = (*_notes(run, arrays, now), *notes)
        return RunStatus(run, state, tasks, finish, code, _hint(run, state, "slurm"), said, "slurm")
    state, code = _here(run, tasks, finish)
    where: Literal["", "local"] = "local" if submissions(run.paths) else ""
    return RunStatus(run, state, tasks, finish, code, _hint(run, state, where), tuple(notes), where)


def runner_alive(run: Run) -> bool | None:
    """Tell whether a process of this run still starts its tasks; None when it is on another host."""
    latest = submissions(run.paths)
    if not latest or latest[-1].state not in ("submitting", "submitted"):
        return False
    facts = latest[-1].facts
    return alive(facts) if whole(facts.get("pid")) is not None else False


def _here(run: Run, tasks: tuple[TaskStatus, ...], finish: TaskStatus) -> tuple[RunState, int | None]:
    """Judge a run whose tasks are processes of the machine that it was started on."""
    latest = submissions(run.paths)
    if not latest:
        return "pending", None
    facts = latest[-1].facts
    if latest[-1].state == "ended":
        code = whole(facts.get("code"))
        code = int(Exit.FAILED) if code is None else code
        if facts.get("cancelled"):
            return "cancelled", code
        return _by_code(code), code
    runner = runner_alive(run)
    if runner is None:
        return "unknown", None
    if runner or any(task.state == "running" for task in (*tasks, finish)):
        return "running", None
    return "killed", None


def _by_code(code: int) -> RunState:
    if code in (Exit.OK, Exit.REJECTED):
        return "done"
    return "interrupted" if code == Exit.INTERRUPTED else "failed"


def _on_slurm(
    newest: Round, tasks: tuple[TaskStatus, ...], finish: TaskStatus, now: float
) -> tuple[RunState, int | None]:
    """Judge a run by its newest round: its finishing job, which comes last, has the last word."""
    everything = (*tasks, finish)
    live = [array for array in newest.arrays if array.state in ("submitting", "submitted") and not array.doubtful(now)]
    if any(task.state == "running" for task in everything):
        return "running", None
    if newest.cancelled and finish.state != "done":
        return "cancelled", int(Exit.INTERRUPTED)
    if finish.over and newest.finish is not None:
        return _ended(tasks, finish)
    if any(task.state == "queued" for task in everything):
        return "queued", None
    if any(task.state == "unknown" for task in everything) or any(array.doubtful(now) for array in newest.arrays):
        return "unknown", None
    if not live:
        return "failed", int(Exit.FAILED)
    return _ended(tasks, finish)


def _ended(tasks: tuple[TaskStatus, ...], finish: TaskStatus) -> tuple[RunState, int | None]:
    """Judge a run of which nothing moves any more; what the finishing task found complete is done, whoever died."""
    if finish.state == "done":
        return "done", int(Exit.OK) if finish.code is None else finish.code
    codes = [task.code for task in tasks if task.state != "done" and task.code is not None]
    worst = next((int(code) for code in WORST_FIRST if code in codes), None)
    if codes and worst is None:
        worst = int(Exit.FAILED)
    if worst is not None:
        return _by_code(worst), worst
    if any(task.state == "killed" for task in (*tasks, finish)):
        return "killed", int(Exit.FAILED)
    if finish.over and finish.code is not None:
        return _by_code(finish.code), finish.code
    return "interrupted", int(Exit.INTERRUPTED)


def _notes(run: Run, arrays: Arrays, now: float) -> list[str]:
    """Say which submissions of the newest round were refused or are in doubt, and whether its scripts stopped it."""
    newest = arrays.newest
    notes = []
    for array in newest.arrays if newest is not None else ():
        what = "the finishing job" if array.role == FINISH else f"tasks {_spoken(array.tasks())}"
        if array.state == "refused":
            notes.append(f"sbatch refused {what} ({array.script}): {array.words}")
        elif array.doubtful(now):
            words = f": {array.words}" if array.words else ""
            notes.append(
                f"nobody knows whether {what} ({array.script}) were queued, since sbatch gave no answer{words}; "
                f"segbatch resume {run.paths.folder} looks again"
            )
    if newest is not None and newest.stopped:
        notes.append(f"the rest of it was stopped: {newest.stopped}")
    return notes


def _spoken(tasks: Sequence[int]) -> str:
    if not tasks:
        return "?"
    return str(tasks[0]) if len(tasks) == 1 else f"{min(tasks)}-{max(tasks)}"


def _hint(run: Run, state: RunState, backend: str) -> str:
    folder = run.paths.folder
    if backend == "slurm" and state in ("killed", "unknown"):
        return f"look again, and go on with what is missing: segbatch resume {folder}"
    hints: dict[str, str] = {
        "interrupted": f"continue with: segbatch resume {folder}",
        "cancelled": f"continue with: segbatch resume {folder}",
        "killed": f"its processes are gone without a word (killed, or the machine restarted); continue with: "
        f"segbatch resume {folder}",
        "failed": f"see why with: segbatch logs {folder} --failed   then: segbatch resume {folder}",
        "unknown": "it was started on another machine, and cannot be asked from here whether it still runs",
        "pending": f"it was never started; start it with: segbatch resume {folder}",
    }
    return hints.get(state, "")

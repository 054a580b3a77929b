"""What became of a run, told from its folder alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from segbatch.errors import Exit
from segbatch.runs.attempts import read_attempts
from segbatch.runs.layout import FINISH
from segbatch.runs.ledger import submissions
from segbatch.runs.process import alive
from segbatch.runs.progress import read_progress
from segbatch.runs.run import Run

TaskState = Literal["pending", "running", "done", "interrupted", "failed", "killed", "unknown"]
RunState = Literal["pending", "running", "done", "interrupted", "failed", "killed", "cancelled", "unknown"]


@dataclass(frozen=True)
class TaskStatus:
    """One task as its files tell it."""

    name: str
    state: TaskState
    attempts: int
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

    @property
    def seconds_left(self) -> float | None:
        """Estimate from the rate; None while there is none."""
        if not self.rate or self.state != "running":
            return None
        return max(self.total - self.done, 0) / self.rate


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
        return (self.total - self.done) / self.rate if self.rate else None

    def counts(self) -> Mapping[str, int]:
        """Number of tasks in each state."""
        return Counter(task.state for task in self.tasks)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for `status --json`."""
        return {
            "run": self.run.label,
            "folder": str(self.run.paths.folder),
            "kind": self.run.record.kind,
            "state": self.state,
            "code": self.code,
            "done": self.done,
            "total": self.total,
            "rate": round(self.rate, 3),
            "seconds_left": self.seconds_left,
            "tasks": [asdict(task) for task in self.tasks],
            "finish": asdict(self.finish),
            "hint": self.hint,
        }


def task_status(run: Run, name: int | str) -> TaskStatus:
    """Tell what became of one task (or of the finishing one) from its files."""
    paths = run.paths.task(name)
    attempts = read_attempts(paths)
    progress = read_progress(paths.progress)
    total = run.record.shards[name][1] if isinstance(name, int) else 0
    end = attempts[-1].end if attempts else None
    state: TaskState = "pending"
    if end is not None:
        state = {int(Exit.OK): "done", int(Exit.INTERRUPTED): "interrupted"}.get(int(end["code"]), "failed")  # type: ignore[assignment]
        if name == FINISH and end["code"] == Exit.REJECTED:
            state = "done"
    elif attempts:
        state = {True: "running", False: "killed", None: "unknown"}[alive(attempts[-1].start)]  # type: ignore[assignment]
    return TaskStatus(
        name=str(name),
        state=state,
        attempts=len(attempts),
        host=str(attempts[-1].start.get("host", "")) if attempts else "",
        done=int(progress.get("done", 0)),
        total=int(progress.get("total", total)),
        unit=str(progress.get("unit", "tiles")),
        rate=progress.get("rate") if state == "running" else None,
        note=str(progress.get("note", "")),
        code=int(end["code"]) if end is not None else None,
        message=str(end.get("message", "")) if end is not None else "",
    )


def run_status(run: Run) -> RunStatus:
    """Tell what became of a run from its folder alone: the ledger, the attempts and the progress of its tasks."""
    tasks = tuple(task_status(run, number) for number in run.tasks)
    finish = task_status(run, FINISH)
    state, code = _run_state(run, tasks, finish)
    return RunStatus(run, state, tasks, finish, code, _hint(run, state))


def runner_alive(run: Run) -> bool | None:
    """Tell whether a process of this run still starts its tasks; None when it is on another host."""
    latest = submissions(run.paths)
    if not latest or latest[-1].state not in ("submitting", "submitted") or "pid" not in latest[-1].facts:
        return False
    return alive(latest[-1].facts)


def _run_state(run: Run, tasks: tuple[TaskStatus, ...], finish: TaskStatus) -> tuple[RunState, int | None]:
    latest = submissions(run.paths)
    if not latest:
        return "pending", None
    facts = latest[-1].facts
    if latest[-1].state == "ended":
        code = int(facts["code"])
        if facts.get("cancelled"):
            return "cancelled", code
        if code in (Exit.OK, Exit.REJECTED):
            return "done", code
        return ("interrupted" if code == Exit.INTERRUPTED else "failed"), code
    runner = runner_alive(run)
    if runner is None:
        return "unknown", None
    if runner or any(task.state == "running" for task in (*tasks, finish)):
        return "running", None
    return "killed", None


def _hint(run: Run, state: RunState) -> str:
    folder = run.paths.folder
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

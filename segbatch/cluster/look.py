"""One run under observation: its folder, then what the queue and accounting add to its tasks."""

from __future__ import annotations

import getpass
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from segbatch.cluster.refine import Rows, Sighting, gone, left_queue, unexplained, with_account, with_row
from segbatch.cluster.slurm.rows import AccountRow
from segbatch.cluster.troubles import Tasks, Troubles
from segbatch.runs.arrays import Array, Arrays, confirmed, read_arrays
from segbatch.runs.layout import FINISH
from segbatch.runs.run import Run
from segbatch.runs.status import RunStatus, judged, run_status

Accounts = Mapping[tuple[str, int], list[AccountRow]]
"""Rows of accounting by array and index."""


@dataclass(frozen=True)
class Queue:
    """One answer of the queue."""

    rows: Rows
    taken: float
    """Seconds since the epoch."""
    trouble: str
    """Why there is no newer answer; empty if this one is good."""


def by_task(rows: Iterable[AccountRow]) -> Accounts:
    """Sort rows of accounting by task."""
    found: dict[tuple[str, int], list[AccountRow]] = {}
    for row in rows:
        found.setdefault((row.array, row.index or 0), []).append(row)
    return found


@dataclass
class Look:
    """A run at one moment; `take_queue`, `take_accounts` and `result` are called in this order."""

    run: Run
    now: float
    explain: bool
    """Whether to find causes."""
    arrays: Arrays
    status: RunStatus
    tasks: Tasks
    seen: dict[int | str, Sighting] = field(default_factory=dict)
    missing: set[int | str] = field(default_factory=set)
    """Open tasks that are in no queue."""
    notes: list[str] = field(default_factory=list)
    asked: float | None = None

    @classmethod
    def at(cls, run: Run, now: float, *, explain: bool) -> Look:
        """Read a run's folder."""
        arrays = read_arrays(run.paths)
        status = run_status(run, now, arrays)
        look = cls(run, now, explain, arrays, status, _named(status))
        if look.foreign and not status.over:
            look.notes.append(
                f"submitted by {look.foreign}, whose jobs only they can ask for: told from its folder alone"
            )
        return look

    @property
    def foreign(self) -> str:
        """Name of another user who submitted it; empty if that was this one."""
        newest = self.arrays.newest
        users = [array.user for array in newest.arrays if array.user] if newest is not None else []
        return users[0] if users and getpass.getuser() not in users else ""

    @property
    def askable(self) -> bool:
        """Whether the queue may know more than the folder."""
        open_ = not self.status.over or self.status.state == "unknown"
        return self.arrays.current and open_ and not self.foreign

    def opened(self) -> float:
        """When its newest array was submitted."""
        return max((array.opened for array in self.arrays.array_of.values()), default=0.0)

    def take_queue(self, queue: Queue) -> None:
        """Lay the queue over the tasks."""
        self.asked = queue.taken
        self._confirm(queue.rows)
        for name, array in self.arrays.array_of.items():
            task, row = self.tasks.get(name), queue.rows.get((array.token, array.index(name)))
            if task is None:
                continue
            if row is not None and row.array == array.job:
                self.tasks[name], self.seen[name] = with_row(task, array, row, queue.taken, self.now)
            elif not queue.trouble and left_queue(task, array, queue.taken):
                self.missing.add(name)
        if queue.trouble:
            age = (
                f"what it said {self.now - queue.taken:.0f} s ago counts"
                if queue.rows
                else "told from the folder alone"
            )
            self.notes.append(f"the queue cannot be asked ({queue.trouble}): {age}")

    def _confirm(self, rows: Rows) -> None:
        """Take note of jobs that are in the queue although sbatch never said so."""
        jobs = {token: row.array for (token, _), row in rows.items()}
        if any(not array.job and array.token in jobs for array in self.arrays.array_of.values()):
            self.arrays = confirmed(self.run.paths, self.arrays, jobs)
            self.status = run_status(self.run, self.now, self.arrays)
            self.tasks = _named(self.status)

    def unclear(self) -> list[Array]:
        """Return the arrays that accounting should be asked about."""
        names = [name for name in self.arrays.array_of if self._unclear(name)]
        found = {self.arrays.array_of[name].token: self.arrays.array_of[name] for name in names}
        return [array for array in found.values() if array.job]

    def _unclear(self, name: int | str) -> bool:
        if not self.arrays.current or self.foreign or name not in self.tasks:
            return False
        unknown = self.explain and self.status.state != "done" and name not in self.seen
        return name in self.missing or (unknown and unexplained(self.tasks[name]))

    def take_accounts(self, accounts: Accounts, trouble: str) -> None:
        """Lay accounting over the tasks that the queue knows no more."""
        for name, array in self.arrays.array_of.items():
            if not self._unclear(name):
                continue
            rows = accounts.get((array.job, array.index(name)), [])
            ours = [row for row in rows if row.comment in ("", f"segbatch:{array.token}")]
            self.tasks[name], found = with_account(self.tasks[name], array, ours, self.now)
            if found is not None:
                self.seen[name] = found
            if name in self.missing:
                self.tasks[name] = gone(self.tasks[name], array, self.now)
        if trouble:
            self.notes.append(f"accounting cannot be asked how tasks ended ({trouble}): told from their files alone")

    def result(self, troubles: Troubles) -> RunStatus:
        """Judge the run by its tasks as they are now."""
        if self.explain:
            self.tasks = troubles.explain(self.run, self.arrays, self.tasks, self.seen)
        tasks = tuple(self.tasks[int(task.name)] for task in self.status.tasks)
        status = judged(self.run, self.arrays, tasks, self.tasks[FINISH], self.now, self.notes)
        return replace(status, asked=self.asked)


def _named(status: RunStatus) -> Tasks:
    return {int(task.name): task for task in status.tasks} | {FINISH: status.finish}

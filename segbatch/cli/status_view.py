"""How a run looks on a terminal: a line, a table of few tasks, or a summary of many."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from segbatch.runs.words import duration

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

    from segbatch.runs.status import RunStatus
    from segbatch.runs.task_status import Cause, TaskStatus

MANY_TASKS = 12
MOST_GROUPS = 6
BAR_WIDTH = 60
WIDE = 250
COLORS = {
    "done": "green",
    "running": "cyan",
    "queued": "blue",
    "pending": "bright_black",
    "failed": "red",
    "killed": "red",
    "interrupted": "yellow",
    "cancelled": "yellow",
    "unknown": "magenta",
}
"""Of each state, in the order in which a bar shows them."""


def terminal() -> Console:
    """Return a console on standard output; where that is a file or a pipe, lines are as long as they need to be."""
    from rich.console import Console

    return Console(soft_wrap=True, width=None if sys.stdout.isatty() else WIDE)


def headline(status: RunStatus) -> str:
    """One line that says how far a run is."""
    return f"{status.run.label}: {status.state}  {figures(status)}"


def figures(status: RunStatus) -> str:
    """What is done, at what rate, and what is left; tasks by state where there are several."""
    unit = status.tasks[0].unit if status.tasks else "tiles"
    parts = [f"{status.done}/{status.total} {unit}"]
    if len(status.tasks) > 1:
        parts.append("tasks: " + _counted(status))
    if status.rate:
        parts += [f"{status.rate:.1f} {unit}/s", f"{duration(status.seconds_left)} left"]
    note = next((task.note for task in status.tasks if task.state == "running" and task.note), "")
    return "  ".join([*parts, note] if note and len(status.tasks) == 1 else parts)


def _counted(status: RunStatus) -> str:
    counts = status.counts()
    return ", ".join(f"{counts[state]} {state}" for state in COLORS if counts.get(state))


@dataclass(frozen=True)
class Group:
    """Tasks that share a cause."""

    cause: Cause
    tasks: Sequence[TaskStatus]

    def title(self) -> str:
        """How many, why, and one of them."""
        example = self.tasks[0]
        where = f" on {example.host}" if example.host else ""
        lines = {task.cause.line for task in self.tasks if task.cause is not None}
        same = self.cause.line if len(lines) == 1 else f"{self.cause.line}, and others"
        if len(self.tasks) == 1:
            return f"task {example.name}{where}: {_told(self.cause.kind, same)}"
        return f"{len(self.tasks)} tasks: {_told(self.cause.kind, same)} (such as task {example.name}{where})"

    def lines(self) -> Iterator[str]:
        """The log's telling lines of one of them, and what to do."""
        yield from self.cause.excerpt
        if self.cause.next:
            yield f"-> {self.cause.next}"


def _told(kind: str, line: str) -> str:
    return line if line.startswith(kind) else f"{kind}: {line}"


def groups(status: RunStatus) -> list[Group]:
    """Group the tasks in trouble by cause, the largest group first.

    A finishing task that fails because others did is no trouble of its own.
    """
    found: dict[str, list[TaskStatus]] = {}
    alone = all(task.cause is None for task in status.tasks)
    for task in status.everything() if alone else status.tasks:
        if task.cause is not None:
            found.setdefault(task.cause.kind, []).append(task)
    by_size = sorted(found.values(), key=lambda tasks: -len(tasks))
    return [Group(tasks[0].cause, tasks) for tasks in by_size if tasks[0].cause is not None]


def status_view(status: RunStatus, now: float | None = None) -> RenderableType:
    """Draw a run: few tasks as a table, many as a bar with what is worth a look."""
    from rich.console import Group as Rows
    from rich.text import Text

    now = time.time() if now is None else now
    color = COLORS.get(status.state, "white")
    title = Text.assemble((status.run.label, "bold"), "  ", (status.state, color), "  ", figures(status))
    few = len(status.tasks) <= MANY_TASKS
    parts: list[RenderableType] = [title, _table(status, now)] if few else [title, *_summary(status, now)]
    for group in groups(status)[:MOST_GROUPS]:
        parts.append(Text(group.title(), "red"))
        parts += [Text(f"    {line}", "dim") for line in group.lines()]
    parts += [Text(f"note    {note}", "yellow") for note in status.notes]
    if status.asked and now - status.asked >= 1:
        parts.append(Text(f"queue   as it was {duration(now - status.asked)} ago", "dim"))
    parts.append(Text(f"folder  {status.run.paths.folder}", "dim"))
    if status.hint:
        parts.append(Text(status.hint, "yellow"))
    return Rows(*parts)


def _table(status: RunStatus, now: float) -> Table:
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    limits = any(task.time_left_s is not None for task in status.everything())
    table = Table(box=None, pad_edge=False)
    for column in ("task", "state", "try", "node", "done", "", "per s", "left", *(["limit"] if limits else []), "says"):
        table.add_column(column, overflow="fold" if column == "says" else "ellipsis")
    shown = [task for task in status.everything() if task.name != "finish" or task.state != "pending"]
    for task in shown:
        table.add_row(
            task.name,
            Text(task.state, COLORS.get(task.state, "white")),
            str(task.attempts or "-"),
            task.host or "-",
            f"{task.done}/{task.total}" if task.total else "-",
            ProgressBar(total=task.total, completed=task.done, width=20) if task.total else "",
            f"{task.rate:.1f}" if task.rate else "-",
            duration(task.seconds_left),
            *([duration(task.time_left_s)] if limits else []),
            Text(_says(task, now)),
        )
    return table


def _says(task: TaskStatus, now: float) -> str:
    """What is worth a word about a task."""
    if task.cause is not None:
        return _told(task.cause.kind, task.cause.line)
    silent = task.silent(now)
    parts = [
        task.message.partition("\n")[0] if task.state != "running" else "",
        f"no sign for {duration(silent)}" if silent else "",
        task.scheduler if task.state in ("queued", "running") and task.scheduler != "RUNNING" else "",
        f"may start at {task.expected}" if task.expected else "",
        f"goes on after: {task.why}" if task.state == "queued" and task.why else "",
        task.note if task.state != "queued" else "",
    ]
    return ", ".join(part for part in parts if part)


def _summary(status: RunStatus, now: float) -> Iterator[RenderableType]:
    """Of many tasks: a bar of their states, why some wait, which are silent, and the finishing task."""
    from rich.text import Text

    yield _bar(status)
    waiting = Counter(task.scheduler for task in status.tasks if task.state == "queued" and task.scheduler)
    starts = sorted(task.expected for task in status.tasks if task.expected)
    if waiting:
        reasons = ", ".join(f"{count} {reason}" for reason, count in waiting.most_common(3))
        yield Text(f"waits   {reasons}" + (f"; next start {starts[0]}" if starts else ""), "blue")
    silent = sorted((task.silent(now) or 0.0, task.name, task.host) for task in status.tasks if task.silent(now))
    if silent:
        longest, name, host = silent[-1]
        words = f"{len(silent)} running tasks without a sign, such as task {name} on {host} for {duration(longest)}"
        yield Text(f"silent  {words}", "yellow")
    if status.finish.state != "pending":
        words = ", ".join(filter(None, [status.finish.state, _says(status.finish, now)]))
        yield Text(f"finish  {words}", COLORS.get(status.finish.state, "white"))


def _bar(status: RunStatus) -> Text:
    """Draw one character for every so many tasks, in the colour of their state."""
    from rich.text import Text

    counts, total = status.counts(), len(status.tasks)
    bar = Text()
    passed = drawn = 0
    for state, color in COLORS.items():
        passed += counts.get(state, 0)
        # A state that one task is in shows too.
        width = max(round(passed / total * BAR_WIDTH) - drawn, 1 if counts.get(state) else 0)
        bar.append("━" * width, color)
        drawn += width
    return bar

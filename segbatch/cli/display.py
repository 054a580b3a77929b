"""How runs and their progress look on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import RenderableType

    from segbatch.runs.run import Run
    from segbatch.runs.status import RunStatus

PLAIN_INTERVAL_S = 10.0
MANY_TASKS = 12
COLORS = {
    "done": "green",
    "running": "cyan",
    "failed": "red",
    "killed": "red",
    "interrupted": "yellow",
    "cancelled": "yellow",
}


def duration(seconds: float | None) -> str:
    """Write a span of time as people say it: 42 s, 3 min 20 s, 5 h 12 min."""
    if seconds is None:
        return "-"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def headline(status: RunStatus) -> str:
    """One line that says how far a run is."""
    return f"{status.run.label}: {status.state}  {_figures(status)}"


def _figures(status: RunStatus) -> str:
    unit = status.tasks[0].unit if status.tasks else "tiles"
    parts = [f"{status.done}/{status.total} {unit}"]
    if len(status.tasks) > 1:
        parts.append("tasks: " + ", ".join(f"{number} {state}" for state, number in sorted(status.counts().items())))
    if status.rate:
        parts += [f"{status.rate:.1f} {unit}/s", f"{duration(status.seconds_left)} left"]
    note = next((task.note for task in status.tasks if task.state == "running" and task.note), "")
    return "  ".join([*parts, note] if note else parts)


def status_view(status: RunStatus) -> RenderableType:
    """A run as a table of its tasks; of many tasks, the ones worth a look."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    color = COLORS.get(status.state, "white")
    title = Text.assemble(
        (status.run.label, "bold"), "  ", (status.state, color), "  ", headline(status).split(": ")[1]
    )
    table = Table(box=None, pad_edge=False)
    for column in ("task", "state", "try", "node", "done", "", "per s", "left", "says"):
        table.add_column(column, overflow="fold" if column == "says" else "ellipsis")
    tasks = [*status.tasks, status.finish] if status.finish.attempts else list(status.tasks)
    shown = tasks if len(tasks) <= MANY_TASKS else [task for task in tasks if task.state not in ("done", "pending")]
    for task in shown[:MANY_TASKS]:
        table.add_row(
            task.name,
            Text(task.state, COLORS.get(task.state, "white")),
            str(task.attempts or "-"),
            task.host or "-",
            f"{task.done}/{task.total}" if task.total else "-",
            ProgressBar(total=task.total, completed=task.done, width=20) if task.total else "",
            f"{task.rate:.1f}" if task.rate else "-",
            duration(task.seconds_left),
            task.message or task.note,
        )
    rest = len(tasks) - min(len(shown), MANY_TASKS)
    parts: list[RenderableType] = [title, table]
    if rest:
        parts.append(Text(f"and {rest} more tasks", "dim"))
    parts.append(Text(f"folder  {status.run.paths.folder}", "dim"))
    if status.hint:
        parts.append(Text(status.hint, "yellow"))
    return Group(*parts)


@contextmanager
def live_progress(run: Run) -> Iterator[Callable[[], None]]:
    """Give a function that brings the display of a run up to date: a live table, or plain lines without a terminal."""
    from segbatch.runs.status import run_status

    if sys.stderr.isatty():
        from rich.console import Console
        from rich.live import Live

        with Live(console=Console(stderr=True), refresh_per_second=2, transient=True) as live:
            yield lambda: live.update(status_view(run_status(run)))
        return
    shown_at, shown = time.monotonic(), ""

    def plain() -> None:
        nonlocal shown_at, shown
        if time.monotonic() - shown_at >= PLAIN_INTERVAL_S:
            line = headline(run_status(run))
            if line != shown:
                click.echo(line, err=True)
            shown_at, shown = time.monotonic(), line

    yield plain


def print_outcome(run: Run) -> int:
    """Say how a run ended and what to look at; return its exit code."""
    from segbatch.errors import Exit
    from segbatch.runs.status import run_status

    status = run_status(run)
    click.echo(headline(status))
    for task in (*status.tasks, status.finish):
        if task.message and task.state != "done":
            click.echo(f"task {task.name}: {task.message}", err=True)
    if status.hint:
        click.echo(status.hint, err=True)
    return int(Exit.FAILED) if status.code is None else status.code

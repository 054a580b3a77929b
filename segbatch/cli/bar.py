"""Bars and counts for commands that go through many files."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager


@contextmanager
def reading_bar() -> Iterator[Callable[[int, int], None]]:
    """A bar on the terminal; gives the function to call with the files done and the files in all."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("reading"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def counting(what: str) -> Iterator[Callable[[int], None]]:
    """A count on the terminal, such as "listing 120,000"; gives the function to call with the files so far.

    It appears with the first call, which few files never bring about.
    """
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    with ExitStack() as open_bars:
        shown: list[Callable[[int], None]] = []

        def tick(done: int) -> None:
            if not shown:
                shown.append(_count(what, open_bars))
            shown[0](done)

        yield tick


def _count(what: str, open_bars: ExitStack) -> Callable[[int], None]:
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description} {task.completed:,.0f}"), TimeElapsedColumn())
    bar = open_bars.enter_context(Progress(*columns, console=Console(stderr=True), transient=True))
    task = bar.add_task(what, total=None)
    return lambda done: bar.update(task, completed=done)

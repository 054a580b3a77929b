"""Keeping a run in view while it goes on, and saying how it ended."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from segbatch.cli.status_view import groups, headline, status_view

if TYPE_CHECKING:
    from segbatch.runs.run import Run
    from segbatch.runs.status import RunStatus

PLAIN_INTERVAL_S = 10.0
LOOK_INTERVAL_S = 1.0
SHARE_OF_TIME = 5.0
"""Looking at a run, whose folder may be on a busy file server, takes at most one part in so many of the time."""

Look = Callable[[], "RunStatus"]


def looking(run: Run) -> Look:
    """Give a function that tells what became of a run, by the rules of a site of defaults."""
    from segbatch.cluster.observe import Observer
    from segbatch.spec.site import Site

    observer = Observer(Site())
    return lambda: observer.look(run)


@contextmanager
def live_progress(run: Run, look: Look | None = None) -> Iterator[Look]:
    """Give a function that brings the display of a run up to date: a live view, or plain lines without a terminal.

    Args:
        run: the run.
        look: tells what became of it.

    Yields:
        A function to be called often; it returns the status that is shown, which may be a second old.
    """
    seen = Sight(looking(run) if look is None else look)
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.live import Live

        with Live(console=Console(stderr=True), refresh_per_second=2, transient=True) as live:

            def draw() -> RunStatus:
                live.update(status_view(seen.status()))
                return seen.status()

            yield draw
        return
    shown_at, shown = time.monotonic(), ""

    def write() -> RunStatus:
        nonlocal shown_at, shown
        status = seen.status()
        line = headline(status)
        if line != shown and time.monotonic() - shown_at >= PLAIN_INTERVAL_S:
            click.echo(line, err=True)
            shown_at, shown = time.monotonic(), line
        return status

    yield write


class Sight:
    """The status of a run, looked up anew only as often as is reasonable."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._next = 0.0
        self._status: RunStatus | None = None

    def status(self) -> RunStatus:
        """Return the newest status."""
        began = time.monotonic()
        if self._status is None or began >= self._next:
            self._status = self._look()
            cost = time.monotonic() - began
            self._next = began + max(LOOK_INTERVAL_S, cost * SHARE_OF_TIME)
        return self._status


def print_outcome(run: Run, look: Look | None = None) -> int:
    """Say how a run ended and what to look at; return its exit code."""
    status = (looking(run) if look is None else look)()
    click.echo(headline(status))
    for group in groups(status):
        click.echo(group.title(), err=True)
        for line in group.lines():
            click.echo(f"    {line}", err=True)
    for note in status.notes:
        click.echo(f"note: {note}", err=True)
    if status.hint:
        click.echo(status.hint, err=True)
    return status.exit_code

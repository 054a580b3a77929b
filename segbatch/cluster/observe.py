"""Runs as their folders, the queue and accounting tell them: one question for however many runs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from segbatch.cluster.backend import queue_view
from segbatch.cluster.look import Accounts, Look, Queue, by_task
from segbatch.cluster.refine import our_rows
from segbatch.cluster.slurm.answers import SlurmError
from segbatch.cluster.slurm.queue import QueueView
from segbatch.cluster.troubles import Troubles
from segbatch.runs.run import Run
from segbatch.runs.status import RunStatus
from segbatch.spec.site import Site

CLOCK_SLACK_S = 60.0
"""Seconds by which the clocks of this machine and of the controller may differ."""


@dataclass(frozen=True)
class _Answer:
    """One answer of accounting."""

    jobs: frozenset[str]
    taken: float
    rows: Accounts
    trouble: str


@dataclass
class Observer:
    """Looks at runs, again and again; it asks SLURM no more often than the site allows."""

    site: Site
    view: QueueView | None = None
    """The queue; by default the one that all commands of this user share, made when it is first needed."""
    _queue: Queue | None = field(default=None, init=False)
    _ask_next: float = field(default=0.0, init=False)
    _answer: _Answer | None = field(default=None, init=False)
    _troubles: Troubles = field(default_factory=Troubles, init=False)

    def look(self, run: Run, *, now: float | None = None) -> RunStatus:
        """Tell what became of a run: its folder, refined by the queue and by accounting where they can be asked."""
        return self.look_all([run], now=now)[0]

    def look_all(self, runs: Sequence[Run], *, explain: bool = True, now: float | None = None) -> list[RunStatus]:
        """Tell what became of several runs, with at most one question to the queue and one to accounting.

        Args:
            runs: the runs.
            explain: find causes of failure too.
            now: seconds since the epoch.
        """
        clock, now = now, time.time() if now is None else now
        # Opened anew, since a cut made by another command changes what the tasks of a run are.
        looks = [Look.at(Run(run.paths, run.record), now, explain=explain) for run in runs]
        asking = [look for look in looks if look.askable]
        if asking:
            queue = self._ask_queue(max(look.opened() for look in asking), now)
            for look in asking:
                # The answer may have taken a while, most of all when there was none.
                look.now = time.time() if clock is None else clock
                look.take_queue(queue)
        unclear = [look for look in looks if look.unclear()]
        if unclear:
            answer = self._ask_accounting(unclear, now)
            for look in unclear:
                look.take_accounts(answer.rows, answer.trouble)
        return [look.result(self._troubles) for look in looks]

    def _ask_queue(self, not_before: float, now: float) -> Queue:
        """Ask for the queue; one from before the newest submission cannot know it."""
        known = self._queue
        if known is not None and now < self._ask_next and (known.taken >= not_before or known.trouble):
            return known
        view = self._view()
        snapshot = view.rows(not_before=not_before)
        self._queue = Queue(our_rows(snapshot.rows), snapshot.taken, snapshot.trouble)
        self._ask_next = now + view.next_wait()
        return self._queue

    def _ask_accounting(self, looks: Sequence[Look], now: float) -> _Answer:
        arrays = [array for look in looks for array in look.unclear()]
        jobs = frozenset(array.job for array in arrays)
        known = self._answer
        if known is None or not jobs <= known.jobs or now - known.taken >= self.site.min_poll_seconds:
            rows: Accounts = {}
            trouble = ""
            try:
                since = min(array.opened for array in arrays) - CLOCK_SLACK_S
                rows = by_task(self._view().slurm.accounting(sorted(jobs), since))
            except SlurmError as error:
                trouble = error.words or str(error)
            self._answer = _Answer(jobs, now, rows, trouble)
            return self._answer
        return known

    def _view(self) -> QueueView:
        if self.view is None:
            self.view = queue_view(self.site)
        return self.view


def observe(run: Run, site: Site, *, view: QueueView | None = None, now: float | None = None) -> RunStatus:
    """Tell what became of a run: its folder, refined by the queue and by accounting where they can be asked.

    Args:
        run: the run.
        site: how often the scheduler may be asked.
        view: the queue; by default the one that all commands of this user share.
        now: seconds since the epoch.
    """
    return Observer(site, view).look(run, now=now)


def observe_all(
    runs: Sequence[Run], site: Site, *, view: QueueView | None = None, now: float | None = None
) -> list[RunStatus]:
    """Tell what became of several runs, without causes, with one question to the queue for all of them."""
    return Observer(site, view).look_all(runs, explain=False, now=now)

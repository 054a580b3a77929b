"""A wake-up of a schedule: take the occurrence that is due, keep clear of the run before, and start the job."""

from __future__ import annotations

import getpass
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from segbatch.cluster.cron.decision import Decision, decide, delay
from segbatch.cluster.cron.overlap import Way, make_way
from segbatch.cluster.cron.store import Fire, StoredSchedule, iso, load
from segbatch.cluster.works import Work
from segbatch.errors import NothingToDo, SegbatchError
from segbatch.runs.claims import claim_round, seal_round
from segbatch.runs.layout import RunPaths
from segbatch.runs.process import process_identity
from segbatch.spec.site import Site

Start = Callable[[Way], Work]
"""Starts the job, to wait for what the argument says; raises NothingToDo where there is nothing to start."""


@dataclass(frozen=True)
class Firing:
    """One wake-up.

    Raises (all methods):
        SegbatchError: the history cannot be written, or another wake-up of the schedule is at it.
    """

    stored: StoredSchedule
    site: Site
    start: Start
    sleep: Callable[[float], None] = time.sleep

    def on_time(self, now: datetime, *, wait: bool = True) -> Fire | None:
        """Start what is due at `now`.

        Args:
            now: the clock.
            wait: keep the schedule's own delay.

        Returns:
            What came of it; None when nothing is due.
        """
        if self.stored.record.paused or not _something(self._decide(now)):
            return None
        paths = RunPaths(self.stored.folder)
        claim = claim_round(paths)
        try:
            # Another wake-up may have been quicker.
            decision = self._decide(now)
            for missed in decision.missed:
                self.stored.note(iso(missed), "missed", why="nothing woke it in time")
            if decision.due is None:
                return None
            key = iso(decision.due)
            self.stored.note(key, "taken", **process_identity(os.getpid()))
        finally:
            seal_round(paths, claim)
        if wait and (pause := own_delay(self.stored)):
            self.sleep(pause)
        return self._begin(key)

    def by_hand(self, now: datetime) -> Fire:
        """Start the job now, by the schedule's rule for runs that are still at work."""
        paths = RunPaths(self.stored.folder)
        claim = claim_round(paths)
        try:
            key = now.isoformat(timespec="microseconds")
            self.stored.note(key, "taken", by_hand=True, **process_identity(os.getpid()))
        finally:
            seal_round(paths, claim)
        return self._begin(key)

    def _decide(self, now: datetime) -> Decision:
        record = self.stored.record
        handled = [fire.due for fire in self.stored.fires() if not fire.by_hand]
        return decide(record.schedule, record.zone, datetime.fromisoformat(record.since), handled, now)

    def _begin(self, key: str) -> Fire:
        try:
            before = [fire for fire in self.stored.fires() if fire.key != key]
            record = self.stored.record
            others = self._others(key, before)
            way = make_way(record.schedule.overlap, others, self.site, self.sleep, record.backend)
            if way.skip:
                self.stored.note(key, "skipped", why=way.skip)
            elif load(self.stored.folder.parent, self.stored.name).record.paused and not self._found(key).by_hand:
                self.stored.note(key, "skipped", why="paused meanwhile")
            else:
                run = self.start(way)
                self.stored.note(key, "started", run=run.label, folder=str(run.paths.folder), after=way.after)
        except NothingToDo as error:
            self.stored.note(key, "nothing", why=str(error))
        except SegbatchError as error:
            self.stored.note(key, "failed", why=str(error))
        except Exception as error:
            # Nobody watches, so it must end where it is looked for.
            self.stored.note(key, "failed", why=f"{type(error).__name__}: {error}")
        except BaseException as error:
            self.stored.note(key, "failed", why=type(error).__name__)
            raise
        return self._found(key)

    def _found(self, key: str) -> Fire:
        return next(fire for fire in self.stored.fires() if fire.key == key)

    def _others(self, key: str, before: list[Fire]) -> Callable[[], list[Fire]]:
        """Give a function that looks up what was taken before this occurrence, whatever its number."""
        earlier = {fire.key for fire in before}
        return lambda: [fire for fire in self.stored.fires() if fire.key in earlier and fire.key != key]


def own_delay(stored: StoredSchedule) -> float:
    """Seconds by which a schedule starts later than its time."""
    seed = f"{getpass.getuser()} {stored.record.host} {stored.name}"
    return delay(stored.record.schedule, seed).total_seconds()


def _something(decision: Decision) -> bool:
    return decision.due is not None or bool(decision.missed)

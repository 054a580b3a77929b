"""What a wake-up of a schedule is for: a pure decision from its rules, its history and the clock."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile

from segbatch.spec.occurrences import preceding
from segbatch.spec.schedule import Schedule

PUNCTUAL = timedelta(hours=1)
"""A start that comes so late at most is not a missed one: scrontab's job may have waited in the queue."""
CLOCK_SLACK = timedelta(seconds=20)
"""The clock of a node may be so far behind that of the machine which wakes it."""
MOST_MISSED = 100
"""Missed occurrences that are told apart."""


@dataclass(frozen=True)
class Decision:
    """What there is to do."""

    due: datetime | None
    """The occurrence to start now; None for none."""
    missed: tuple[datetime, ...] = ()
    """Occurrences that nobody started and nobody will, oldest first."""


def decide(schedule: Schedule, zone: str, since: datetime, handled: Collection[float], now: datetime) -> Decision:
    """Decide what a wake-up at `now` starts: the newest occurrence that nobody took, unless it is too old.

    Args:
        schedule: the rules.
        zone: its time zone.
        since: occurrences up to this moment do not count.
        handled: due times that were taken or given up before, in seconds since the epoch.
        now: the clock.
    """
    window = max(PUNCTUAL, timedelta(minutes=schedule.catch_up or 0))
    newest = max([since, *(datetime.fromtimestamp(moment, UTC) for moment in handled)])
    open_ = takewhile(lambda moment: moment > newest, preceding(schedule.cron, zone, now + CLOCK_SLACK))
    found = [moment for _, moment in zip(range(MOST_MISSED), open_, strict=False)]
    if not found:
        return Decision(None)
    due, *older = found
    if now - due > window:
        return Decision(None, tuple(reversed(found)))
    return Decision(due, tuple(reversed(older)))


def delay(schedule: Schedule, seed: str) -> timedelta:
    """A schedule's own delay, from 0 up to its `jitter`: the same each time, spread evenly over schedules.

    Args:
        schedule: the rules.
        seed: what tells schedules apart, such as user, machine and name.
    """
    most = 60 * (schedule.jitter or 0)
    share = int.from_bytes(hashlib.sha256(seed.encode("utf-8", "surrogateescape")).digest()[:8], "big") / 2**64
    return timedelta(seconds=int(share * (most + 1))) if most else timedelta()

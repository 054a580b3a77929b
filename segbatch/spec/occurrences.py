"""When a cron expression is due: the moments before and after a given one, in a time zone with its clock changes.

The rules are those of Debian's cron: a start within the hour that a clock change skips comes right after it, and one
within the hour that comes twice comes once, unless minute or hour is a star.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

FIELDS = ("minute", "hour", "day of month", "month", "day of week")
_NAMES = "JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC|SUN|MON|TUE|WED|THU|FRI|SAT"
_FIELD = re.compile(rf"(?:[0-9*,/-]|{_NAMES})+", re.IGNORECASE)
"""What every cron understands; some know L, W, # and ? as well."""
_SAMPLE = 50
"""Occurrences that are looked at to find the shortest time between two."""


def wrong_cron(text: str) -> str:
    """Say why `text` is no cron expression that every cron understands; empty if it is one."""
    parts = text.split()
    example = 'such as "0 2 * * *" (every night at two)'
    if len(parts) != len(FIELDS) or not text.isprintable():
        return f"expected five fields ({', '.join(FIELDS)}), {example}, received {text!r}"
    if not all(_FIELD.fullmatch(part) for part in parts):
        return f"expected numbers, names of months and days, *, lists, ranges and steps in {text!r}, {example}"
    try:
        next(CronSim(text, datetime(2024, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        return f"{str(error)[:1].lower()}{str(error)[1:]} in {text!r}; expected five fields {example}"
    except StopIteration:
        return f"{text!r} never comes: there is no such date"
    return ""


def wrong_zone(name: str) -> str:
    """Say why `name` is no time zone; empty if it is one, or if this machine, such as a small image, knows none."""
    if _known(name) or not _known("Europe/London"):
        return ""
    return f"expected a time zone such as Europe/Madrid or UTC, received {name!r}"


def missing_zone(name: str) -> str:
    """Say that a time zone cannot be used here, and what helps; empty if it can."""
    return "" if _known(name) else f"time zone {name}: this machine does not know it; pip install tzdata brings it"


def _known(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        return False
    return True


def machine_zone(environ: Mapping[str, str] = os.environ, etc: Path = Path("/etc")) -> str:
    """Name of this machine's time zone: TZ, /etc/timezone or where /etc/localtime leads; UTC where nothing says."""
    candidates = [environ.get("TZ", "").removeprefix(":")]
    try:
        # The link is what the C library goes by; the file beside it may be stale.
        candidates.append(str((etc / "localtime").resolve(strict=True)).partition("/zoneinfo/")[2])
        candidates.append((etc / "timezone").read_text(encoding="ascii").strip())
    except (OSError, ValueError):
        pass
    return next((name for name in candidates if name and _known(name)), "UTC")


def following(cron: str, zone: str, moment: datetime) -> Iterator[datetime]:
    """Yield the occurrences after a moment, soonest first, as UTC times."""
    return _found(CronSim(cron, moment.astimezone(ZoneInfo(zone))))


def preceding(cron: str, zone: str, moment: datetime) -> Iterator[datetime]:
    """Yield the occurrences at a moment and before, newest first, as UTC times."""
    # The search begins before the given second.
    return _found(CronSim(cron, (moment + timedelta(seconds=1)).astimezone(ZoneInfo(zone)), reverse=True))


def _found(search: CronSim) -> Iterator[datetime]:
    for moment in search:
        yield moment.astimezone(UTC)


def shortest_gap(cron: str) -> timedelta:
    """Shortest time between two of the next occurrences."""
    found = list(islice(following(cron, "UTC", datetime(2024, 1, 1, tzinfo=UTC)), _SAMPLE))
    gaps = [later - earlier for earlier, later in pairwise(found)]
    return min(gaps, default=timedelta.max)


def minutes_here(cron: str, zone: str, here: str, moment: datetime) -> list[int]:
    """Minutes of this machine's hour at which the expression can be due: zones may differ by half an hour.

    Args:
        cron: the expression.
        zone: its time zone.
        here: the machine's time zone.
        moment: the year after it is looked at.
    """
    minutes = sorted(CronSim(cron, moment.astimezone(UTC)).minutes)
    return sorted({(minute + shift) % 60 for minute in minutes for shift in _shifts(zone, here, moment)})


def same_clock(zone: str, here: str, moment: datetime) -> bool:
    """Whether clocks of two time zones show the same through the year after a moment."""
    return zone == here or _shifts(zone, here, moment) == {0}


def _shifts(zone: str, here: str, moment: datetime) -> set[int]:
    """Minutes by which clocks here are ahead of those of a zone, on the days of the year after a moment."""
    days = (moment + timedelta(days=day) for day in range(366))
    return {_offset(day, here) - _offset(day, zone) for day in days}


def _offset(moment: datetime, zone: str) -> int:
    """Minutes by which a zone is ahead of UTC."""
    ahead = moment.astimezone(ZoneInfo(zone)).utcoffset() or timedelta()
    return round(ahead.total_seconds() / 60)

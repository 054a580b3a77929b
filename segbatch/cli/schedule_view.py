"""How schedules look on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

    from segbatch.cluster.cron.store import Fire, StoredSchedule
    from segbatch.cluster.works import WorkStatus
    from segbatch.spec.site import Site

COLUMNS = ("name", "when", "zone", "next", "last", "outcome", "entry")


def schedule_rows(schedules: Sequence[StoredSchedule], site: Site, now: datetime) -> list[dict[str, Any]]:
    """Return one mapping a schedule: what it is, its next and last start, and what came of the last one."""
    from segbatch.cluster.cron.installing import entry_state
    from segbatch.cluster.works import look_all, open_work
    from segbatch.errors import InputError

    last = {schedule.name: _last(schedule.fires()) for schedule in schedules}
    runs = []
    for fire in last.values():
        if fire is not None and fire.run is not None:
            try:
                runs.append(open_work(fire.run))
            except InputError:
                continue
    found = {status.folder: status for status in look_all(runs, site)}
    rows = []
    for schedule in schedules:
        record, fire = schedule.record, last[schedule.name]
        status = found.get(fire.run.resolve()) if fire is not None and fire.run is not None else None
        rows.append(
            {
                "name": record.name,
                "when": record.schedule.cron,
                "zone": record.zone,
                "next": "paused" if record.paused else _next(schedule, now),
                "last": _local(datetime.fromtimestamp(fire.due, UTC), record.zone) if fire is not None else None,
                "outcome": _outcome(fire, status),
                "run": fire.facts.get("run") if fire is not None else None,
                "folder": str(fire.run) if fire is not None and fire.run is not None else None,
                "job": record.job,
                "via": record.via,
                "entry": entry_state(schedule),
            }
        )
    return rows


def schedule_table(rows: Sequence[dict[str, Any]]) -> Table:
    """Draw the list."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in COLUMNS:
        table.add_column(column, no_wrap=column != "outcome")
    for row in rows:
        entry = f"{row['via']}: {row['entry']}"
        table.add_row(*(str(row[column] or "-") for column in COLUMNS[:-1]), entry)
    return table


def _last(fires: Sequence[Fire]) -> Fire | None:
    return max(fires, key=lambda fire: fire.due, default=None)


def _next(schedule: StoredSchedule, now: datetime) -> str:
    from segbatch.spec.occurrences import following

    record = schedule.record
    return _local(next(following(record.schedule.cron, record.zone, now)), record.zone)


def _local(moment: datetime, zone: str) -> str:
    from zoneinfo import ZoneInfo

    return moment.astimezone(ZoneInfo(zone)).isoformat(sep=" ", timespec="minutes")


def _outcome(fire: Fire | None, status: WorkStatus | None) -> str:
    if fire is None:
        return "not started yet"
    if fire.event == "started":
        state = status.words if status is not None else "removed"
        return f"{fire.facts.get('run')}: {state}"
    if fire.at_work:
        return "about to start"
    event = {"taken": "broken off", "nothing": "nothing to do"}.get(fire.event, fire.event)
    return f"{event}: {fire.why.splitlines()[0] if fire.why else ''}"

"""Schedules on disk: a folder each, with what was asked for and a line for everything that came of it."""

from __future__ import annotations

import json
import os
import re
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import ValidationError

from segbatch.cluster.cron.entry import LOG, SCRIPT
from segbatch.errors import InputError
from segbatch.runs.files import append_line, read_lines, write_json
from segbatch.runs.process import alive
from segbatch.spec.schedule import Schedule
from segbatch.spec.section import FileName, Section

HOME_VARIABLE = "SEGBATCH_SCHEDULES"
RECORD = "schedule.json"
FIRES = "fires.jsonl"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

BELIEVED_S = 7200.0
"""Age at which a start on another machine, which cannot be asked, is no longer believed to go on."""

Event = Literal["taken", "started", "nothing", "skipped", "failed", "missed"]
EVENTS = get_args(Event)


class ScheduleRecord(Section):
    """`schedule.json`: what a schedule is."""

    schema_version: Literal[1] = 1
    name: str
    job: FileName
    """The job file, absolute; each start reads it anew."""
    sets: tuple[str, ...] = ()
    """Overrides, each `a.b=value`."""
    site: FileName | None = None
    """The site file, absolute."""
    runs: FileName | None = None
    """Folder of all runs, absolute."""
    backend: Literal["auto", "local", "slurm"] | None = None
    schedule: Schedule
    zone: str
    """Time zone of the schedule."""
    here: str
    """Time zone of the machine that starts it."""
    via: Literal["crontab", "scrontab"]
    host: str
    """Machine whose crontab holds the entry; any machine of the cluster may change a scrontab."""
    cwd: FileName
    """Where the job starts."""
    python: FileName
    since: str
    """UTC, ISO 8601: occurrences before do not count."""
    paused: bool = False


@dataclass(frozen=True)
class Fire:
    """One occurrence, or one start by hand, and what came of it."""

    key: str
    """The time when it was due, or was asked for by hand; UTC, ISO 8601."""
    event: Event
    """The last that was heard of it."""
    time: float
    """When that was: seconds since the epoch."""
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def due(self) -> float:
        """When it was due: seconds since the epoch."""
        return datetime.fromisoformat(self.key).timestamp()

    @property
    def by_hand(self) -> bool:
        """Whether `run-now` asked for it, and no clock."""
        return bool(self.facts.get("by_hand"))

    @property
    def run(self) -> Path | None:
        """Folder of the run that was started."""
        return Path(self.facts["folder"]) if self.event == "started" and self.facts.get("folder") else None

    @property
    def at_work(self) -> bool:
        """Whether a process still waits to start it; one of another machine is believed for a while."""
        if self.event != "taken" or "pid" not in self.facts:
            return False
        running = alive(self.facts)
        return time.time() - self.time < BELIEVED_S if running is None else running

    @property
    def why(self) -> str:
        """Why nothing was started, in words."""
        if self.event == "taken" and not self.at_work:
            return "broken off: its process ended without a word"
        return str(self.facts.get("why", ""))


@dataclass(frozen=True)
class StoredSchedule:
    """A schedule's folder."""

    folder: Path
    record: ScheduleRecord

    @property
    def name(self) -> str:
        """What commands call it."""
        return self.record.name

    @property
    def script(self) -> Path:
        """What cron starts."""
        return self.folder / SCRIPT

    @property
    def log(self) -> Path:
        """What starts said."""
        return self.folder / LOG

    def fires(self) -> list[Fire]:
        """Everything that came of it, oldest first."""
        facts: dict[str, dict[str, Any]] = {}
        for line in read_lines(self.folder / FIRES):
            if isinstance(line.get("time"), int | float) and _is_time(line.get("fire")) and line.get("event") in EVENTS:
                facts.setdefault(line["fire"], {}).update(line)
        return [Fire(key, merged["event"], float(merged["time"]), merged) for key, merged in facts.items()]

    def note(self, key: str, event: Event, **facts: Any) -> None:
        """Append one line: an occurrence has come to `event`."""
        append_line(self.folder / FIRES, {"time": time.time(), "fire": key, "event": event, **facts})

    def with_record(self, **changes: Any) -> StoredSchedule:
        """Write the record anew with changes."""
        return save(self.folder.parent, self.record.model_copy(update=changes))


def default_home(environ: Mapping[str, str] = os.environ) -> Path:
    """Folder of all schedules of this user: SEGBATCH_SCHEDULES, or `segbatch/schedules` where state belongs."""
    if environ.get(HOME_VARIABLE):
        return Path(environ[HOME_VARIABLE]).absolute()
    state = environ.get("XDG_STATE_HOME")
    base = Path(state) if state else Path.home() / ".local" / "state"
    return base / "segbatch" / "schedules"


def this_host() -> str:
    """Name of this machine."""
    return socket.gethostname()


def save(home: Path, record: ScheduleRecord) -> StoredSchedule:
    """Write a schedule's record; its folder is made when it is not there.

    Raises:
        InputError: the name cannot be that of a folder.
    """
    if not _NAME.fullmatch(record.name):
        raise InputError(
            f"--name {record.name!r}: expected up to 100 letters, digits, '.', '_' and '-', a letter or digit first"
        )
    folder = home / record.name
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / RECORD, record.model_dump(mode="json"))
    return StoredSchedule(folder, record)


def load(home: Path, name: str) -> StoredSchedule:
    """Open a schedule.

    Raises:
        InputError: there is none of this name, or it cannot be read.
    """
    path = home / name / RECORD
    try:
        record = ScheduleRecord.model_validate(json.loads(path.read_bytes()))
    except (FileNotFoundError, NotADirectoryError):
        known = ", ".join(found.name for found in stored(home)) or "none"
        raise InputError(f"no schedule {name!r} in {home}. Schedules there: {known}.") from None
    except (OSError, ValueError, ValidationError) as error:
        raise InputError(f"{path}: not a schedule of version 1: {error}") from error
    return StoredSchedule(path.parent, record)


def exists(home: Path, name: str) -> bool:
    """Whether there is a schedule of this name."""
    return bool(_NAME.fullmatch(name)) and (home / name / RECORD).is_file()


def stored(home: Path) -> Iterator[StoredSchedule]:
    """Yield all schedules that can be read, by name."""
    if not home.is_dir():
        return
    for folder in sorted(home.iterdir()):
        if (folder / RECORD).is_file():
            try:
                yield load(home, folder.name)
            except InputError:
                continue


def iso(moment: datetime) -> str:
    """Write a moment as UTC, ISO 8601."""
    return moment.astimezone(UTC).isoformat(timespec="seconds")


def _is_time(text: object) -> bool:
    try:
        return datetime.fromisoformat(str(text)).tzinfo is not None
    except ValueError:
        return False

"""From a schedule to the text that starts it: the line of a crontab or scrontab, and the script behind it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from segbatch.errors import InputError
from segbatch.spec.occurrences import minutes_here, same_clock
from segbatch.spec.schedule import Schedule

Via = Literal["crontab", "scrontab"]
CARRIED = ("PATH", "PYTHONPATH", "SLURM_CONF", "SEGBATCH_SITE", "SEGBATCH_RUNS", "XDG_CACHE_HOME")
"""Variables that a start takes over from the shell in which the schedule was added."""
SCRIPT = "entry.sh"
LOG = "log.txt"


@dataclass(frozen=True)
class Entry:
    """All that the text of an entry depends on."""

    name: str
    schedule: Schedule
    zone: str
    """Time zone of the schedule."""
    here: str
    """Time zone of the cron that starts it."""
    folder: Path
    """The schedule's own folder, absolute."""
    python: str
    cwd: Path
    """Where the job starts: the folder in which the schedule was added."""
    umask: int = 0o022
    variables: Mapping[str, str] = field(default_factory=dict)
    profile: Sequence[str] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of scrontab's job; None stands for an option without a value."""


def script(entry: Entry) -> str:
    """Text of the script that cron starts; it works without any environment.

    With an argument it speaks to standard output, else to its log.
    """
    home = entry.folder.parent
    command = [entry.python, "-P", "-m", "segbatch", "schedule", "fire", entry.name, "--home", str(home)]
    lines = [
        "#!/bin/sh",
        f"# Starts the schedule {entry.name} when it is due: {entry.schedule.cron}, {entry.zone}.",
        "# Written by `segbatch schedule add`, which writes it anew.",
        f"umask {entry.umask:04o}",
        *(f"export {name}={_word(value)}" for name, value in sorted(entry.variables.items())),
        f'[ "$#" -gt 0 ] || exec >>{_word(str(entry.folder / LOG))} 2>&1',
        *entry.profile,
        f"cd -- {_word(str(entry.cwd))} || exit 1",
        f'exec {" ".join(_word(word) for word in command)} "$@"',
    ]
    return "\n".join(lines) + "\n"


def table_lines(entry: Entry, via: Via, now: datetime) -> str:
    """Text of the entry itself, as it stands between the marks.

    Raises:
        InputError: a path holds a line break.
    """
    command = f"/bin/sh {_word(str(entry.folder / SCRIPT))}"
    if via == "crontab":
        # There a percent sign stands for a line's end, in quotes too.
        command = command.replace("%", r"\%")
    options = [f"#SCRON --{_option(name, value)}" for name, value in entry.options.items()] if via == "scrontab" else []
    return "\n".join([*options, f"{when(entry, now)} {command}"]) + "\n"


def script_of(text: str, via: Via) -> str:
    """Path of the script that an entry of ours starts; empty for what is none of ours."""
    command = text.rstrip("\n").rpartition("\n")[2].partition(" /bin/sh ")[2]
    try:
        words = shlex.split(command.replace(r"\%", "%") if via == "crontab" else command)
    except ValueError:
        return ""
    return words[0] if len(words) == 1 else ""


def when(entry: Entry, now: datetime) -> str:
    """The five fields by which cron starts the script.

    Those of the schedule where cron's zone is the schedule's. Else, and where missed starts are made up, once an hour:
    the script finds out by itself whether anything is due.
    """
    if entry.schedule.catch_up is None and same_clock(entry.zone, entry.here, now):
        return " ".join(entry.schedule.cron.split())
    minutes = minutes_here(entry.schedule.cron, entry.zone, entry.here, now)
    return f"{','.join(map(str, minutes)) if len(minutes) < 60 else '*'} * * * *"


def _option(name: str, value: object) -> str:
    return name if value is None else f"{name}={_word(str(value))}"


def _word(text: str) -> str:
    if any(letter in text for letter in "\n\r\0"):
        raise InputError(f"a table of cron cannot hold {text!r}: expected no line breaks in paths and variables.")
    return shlex.quote(text)

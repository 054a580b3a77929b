"""Putting a schedule's entry into the table of cron and taking it out; trying it in cron's bare environment first."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from segbatch.cluster.cron.block import blocks, put, take
from segbatch.cluster.cron.entry import CARRIED, Entry, script, script_of, table_lines
from segbatch.cluster.cron.store import ScheduleRecord, StoredSchedule, save, this_host
from segbatch.cluster.cron.table import Table
from segbatch.errors import InputError, SegbatchError
from segbatch.runs.files import write_text
from segbatch.spec.site import Site

ENTRY = "entry.txt"
"""The lines that were installed."""
BARE_PATH = "/usr/bin:/bin"
TRIAL_S = 300.0


@dataclass(frozen=True)
class Texts:
    """What a schedule consists of, as text."""

    table: str
    """Its lines in the table of cron, without our marks."""
    script: str
    """What these start."""


def render(folder: Path, record: ScheduleRecord, site: Site, environ: Mapping[str, str] = os.environ) -> Texts:
    """Render a schedule.

    Args:
        folder: its own, absolute.
        record: what it is.
        site: the cluster.
        environ: of the shell in which it is added; some variables are carried over.
    """
    mask = os.umask(0)
    os.umask(mask)
    entry = Entry(
        name=record.name,
        schedule=record.schedule,
        zone=record.zone,
        here=record.here,
        folder=folder,
        python=record.python,
        cwd=Path(record.cwd),
        umask=mask,
        variables={name: environ[name] for name in CARRIED if environ.get(name)},
        profile=site.cron.profile,
        options=_options(folder, record, site),
    )
    return Texts(table_lines(entry, record.via, datetime.now(UTC)), script(entry))


def _options(folder: Path, record: ScheduleRecord, site: Site) -> dict[str, Any]:
    """Options of scrontab's job; it needs no GPU and little time."""
    options: dict[str, Any] = {
        "job-name": f"segbatch-{record.name}",
        "partition": site.finish_partition or site.partition,
        "account": site.account,
        "qos": site.qos,
        "time": site.cron.time + (record.schedule.jitter or 0),
        "mem": f"{site.cron.memory}M",
        # What happens before the script has opened its own log.
        "output": str(folder / "scrontab.log").replace("%", "%%"),
        "open-mode": "append",
    }
    options = {name: value for name, value in options.items() if value is not None} | dict(site.cron.slurm)
    return {name: None if value is True else value for name, value in options.items() if value is not False}


def try_out(record: ScheduleRecord, site: Site, environ: Mapping[str, str] = os.environ) -> str:
    """Run the script with `--check` in the environment that cron gives it; nothing is started.

    Returns:
        What it said.

    Raises:
        InputError: it failed; the message is its own.
    """
    with tempfile.TemporaryDirectory(prefix="segbatch-schedule-") as home:
        trial = save(Path(home), record)
        text = render(trial.folder, record, site, environ).script
        write_text(trial.script, text)
        bare = {name: environ[name] for name in ("HOME", "LOGNAME", "USER") if name in environ}
        bare |= {"SHELL": "/bin/sh", "PATH": BARE_PATH}
        try:
            done = subprocess.run(
                ["/bin/sh", str(trial.script), "--check"],
                env=bare,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=TRIAL_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            message = f"the entry did not come to an end within {TRIAL_S:.0f} s; --no-try leaves this out"
            raise InputError(message) from None
    if done.returncode:
        raise InputError(
            f"in the environment that cron gives it, the entry fails (exit {done.returncode}):\n"
            f"{done.stdout.rstrip()}\n"
            "What a login shell sets up can be said in the site file, as `cron: {profile: [...]}`; nothing was "
            "installed."
        )
    return done.stdout


def write_texts(stored: StoredSchedule, texts: Texts) -> None:
    """Write a schedule's script, and the lines that `install` puts into the table."""
    write_text(stored.script, texts.script)
    write_text(stored.folder / ENTRY, texts.table)


def install(stored: StoredSchedule, environ: Mapping[str, str] = os.environ) -> bool:
    """Put a schedule's entry into the table.

    Returns:
        Whether the table was changed.

    Raises:
        SegbatchError: the table is on another machine, or cannot be changed.
    """
    refuse_elsewhere(stored)
    table = Table(stored.record.via, environ)
    before = table.read()
    _refuse_stranger(stored, before)
    return table.write(put(before, stored.name, entry_text(stored)))


def uninstall(stored: StoredSchedule, environ: Mapping[str, str] = os.environ) -> bool:
    """Take a schedule's entry out of the table.

    Returns:
        Whether the table was changed.

    Raises:
        SegbatchError: the table is on another machine, or cannot be changed.
    """
    refuse_elsewhere(stored)
    table = Table(stored.record.via, environ)
    before = table.read()
    return table.write(take(before, stored.name))


def remove(stored: StoredSchedule) -> None:
    """Delete a schedule's folder, with its history."""
    gone = stored.folder.with_name(f".{stored.name}.removed")
    shutil.rmtree(gone, ignore_errors=True)
    stored.folder.rename(gone)
    shutil.rmtree(gone)


def entry_text(stored: StoredSchedule) -> str:
    """Return the lines of a schedule's entry, without our marks."""
    try:
        return (stored.folder / ENTRY).read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise SegbatchError(f"{stored.folder / ENTRY}: {error.strerror}. Add the schedule anew.") from error


def entry_state(stored: StoredSchedule, environ: Mapping[str, str] = os.environ) -> str:
    """Say in a word or two whether a schedule's entry is in the table as it should be."""
    if _elsewhere(stored):
        return f"on {stored.record.host}"
    try:
        found = [block for block in blocks(Table(stored.record.via, environ).read()) if block.name == stored.name]
    except SegbatchError as error:
        return f"not known: {error}"
    if stored.record.paused:
        return "taken out" if not found else "still installed"
    if not found:
        return "missing"
    if found[0].disabled:
        return "disabled: its job was cancelled"
    return "installed" if found[0].text == entry_text(stored) else "changed by hand"


def refuse_elsewhere(stored: StoredSchedule) -> None:
    """Refuse to change an entry in the crontab of another machine.

    Raises:
        SegbatchError: it is there.
    """
    if _elsewhere(stored):
        raise SegbatchError(f"the entry of {stored.name} is in the crontab of {stored.record.host}: do this there.")


def _elsewhere(stored: StoredSchedule) -> bool:
    return stored.record.via == "crontab" and stored.record.host != this_host()


def _refuse_stranger(stored: StoredSchedule, table: str) -> None:
    """Refuse to replace the entry of a schedule of the same name that another folder holds."""
    for block in blocks(table):
        if block.name == stored.name and script_of(block.text, stored.record.via) != str(stored.script):
            raise SegbatchError(
                f"the table has an entry {stored.name!r} already, of a schedule in another folder:\n"
                f"{block.text.rstrip()}\nChoose another name with --name."
            )

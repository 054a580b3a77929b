"""Commands that let jobs start by themselves: `segbatch schedule ...`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from segbatch.cli.fire import fire, run_now
from segbatch.cli.options import load_site, runs_option, set_option, site_option
from segbatch.cli.schedule_options import home_option, name_argument, open_schedule
from segbatch.cli.schedule_record import made_again, make_record
from segbatch.cli.schedule_view import schedule_rows, schedule_table
from segbatch.cli.start import backend_option
from segbatch.errors import SegbatchError

if TYPE_CHECKING:
    from segbatch.cluster.cron.store import ScheduleRecord, StoredSchedule


@click.group()
def schedule() -> None:
    """Start jobs by themselves: every night, on the cluster's own scheduler or this machine's cron.

    \b
    segbatch schedule add jobs/demo-train.yaml --cron "0 2 * * *"
    segbatch schedule list
    segbatch schedule run-now demo-train
    segbatch schedule remove demo-train
    """


def _rules(command: Any) -> Any:
    """Options that say when and how; they go before what the job's `schedule:` says."""
    options = [
        click.option("--cron", help='When: minute, hour, day of month, month, day of week, such as "0 2 * * *".'),
        click.option("--zone", help="Time zone of --cron, such as Europe/Madrid. Default: this machine's."),
        click.option(
            "--overlap", type=click.Choice(["skip", "queue", "replace"]), help="If the last run is still at work."
        ),
        click.option("--catch-up", metavar="TIME", help="How long a missed start is made up for, such as 8h."),
        click.option("--jitter", metavar="TIME", help="Longest delay of a start, such as 20min; fixed for a schedule."),
        click.option("--name", help="Name of the schedule. Default: the job's."),
        click.option("--via", type=click.Choice(["auto", "scrontab", "crontab"]), help="What starts it."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@schedule.command()
@click.argument("job", type=click.Path(path_type=Path))
@set_option
@_rules
@site_option
@runs_option
@backend_option
@home_option
@click.option("--no-try", is_flag=True, help="Install the entry without trying it in cron's bare environment.")
def add(
    job: Path,
    sets: tuple[str, ...],
    site: Path | None,
    runs_root: Path | None,
    backend: str | None,
    home: Path | None,
    no_try: bool,
    **rules: str | None,
) -> int:
    """Let JOB start by itself; adding it again replaces what was said before.

    The entry is tried first as cron would start it: with no PATH, no modules and no variables of this shell.

    \b
    segbatch schedule add jobs/demo-train.yaml --cron "0 2 * * *" --zone Europe/Madrid
    segbatch schedule add jobs/demo-train.yaml --cron "0 2 * * 1-5" --overlap replace --jitter 20min
    """
    from segbatch.cluster.cron.installing import install, render, try_out, write_texts
    from segbatch.cluster.cron.installing import remove as forget
    from segbatch.cluster.cron.store import exists, load, save

    folder = _home(home)
    record, found_site = make_record(job, sets, site, runs_root, backend, rules)
    known = exists(folder, record.name)
    if known:
        before = load(folder, record.name)
        record = made_again(before.record, record)
    if not no_try:
        try_out(record, found_site)
    if known:
        _move(before, record)
    stored = save(folder, record)
    write_texts(stored, render(stored.folder, record, found_site))
    if record.paused:
        click.echo(f"{record.name} is paused; start it again with: segbatch schedule resume {record.name}")
        return 0
    try:
        changed = install(stored)
    except SegbatchError:
        if not known:
            forget(stored)
        raise
    click.echo(f"{'added' if changed else 'there already'}: {record.name}, {_spoken(record)}")
    _say_next(stored)
    click.echo(f"by      {record.via}" + (f" of {record.host}" if record.via == "crontab" else ""))
    click.echo(f"history {stored.folder}")
    return 0


@schedule.command()
@click.argument("job")
@set_option
@_rules
@site_option
@runs_option
@backend_option
@home_option
def show(
    job: str,
    sets: tuple[str, ...],
    site: Path | None,
    runs_root: Path | None,
    backend: str | None,
    home: Path | None,
    **rules: str | None,
) -> int:
    """Print exactly what `add` would install for JOB, or what a schedule of that name has installed.

    \b
    segbatch schedule show jobs/demo-train.yaml --cron "0 2 * * *" --via scrontab
    """
    from segbatch.cluster.cron.block import put
    from segbatch.cluster.cron.installing import entry_text, render
    from segbatch.cluster.cron.store import exists, load

    folder = _home(home)
    if exists(folder, job):
        stored = load(folder, job)
        record, script = stored.record, stored.script.read_text(encoding="utf-8", errors="surrogateescape")
        lines, place = entry_text(stored), stored.folder
    else:
        record, found_site = make_record(Path(job), sets, site, runs_root, backend, rules)
        place = folder / record.name
        texts = render(place, record, found_site)
        lines, script = texts.table, texts.script
    click.echo(f"# {record.via}{f' of {record.host}' if record.via == 'crontab' else ''}; {_spoken(record)}", err=True)
    click.echo(put("", record.name, lines), nl=False)
    click.echo(f"\n# {place / 'entry.sh'}", err=True)
    click.echo(script, nl=False)
    return 0


@schedule.command("list")
@home_option
@site_option
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def list_(home: Path | None, site: Path | None, as_json: bool) -> int:
    """List schedules with their next and last start, and what came of it.

    \b
    segbatch schedule list
    """
    from segbatch.cli.status_view import terminal
    from segbatch.cluster.cron.store import stored

    folder = _home(home)
    rows = schedule_rows(list(stored(folder)), load_site(site), datetime.now(UTC))
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    elif not rows:
        click.echo(f"no schedules in {folder}. Add one with `segbatch schedule add JOB --cron ...`.")
    else:
        terminal().print(schedule_table(rows))
    return 0


@schedule.command()
@name_argument
@home_option
@click.option("--force", is_flag=True, help="Forget it although its entry is in the crontab of another machine.")
def remove(name: str, home: Path | None, force: bool) -> int:
    """Take the schedule NAME out of the table, and forget its history; its runs stay.

    \b
    segbatch schedule remove demo-train
    """
    from segbatch.cluster.cron.installing import remove as forget
    from segbatch.cluster.cron.installing import uninstall

    stored = open_schedule(name, home)
    try:
        uninstall(stored)
    except SegbatchError:
        if not force:
            raise
    forget(stored)
    click.echo(f"removed: {name}")
    return 0


@schedule.command()
@name_argument
@home_option
def pause(name: str, home: Path | None) -> int:
    """Let the schedule NAME start nothing until it is resumed.

    \b
    segbatch schedule pause demo-train
    """
    from segbatch.cluster.cron.installing import uninstall

    stored = open_schedule(name, home).with_record(paused=True)
    click.echo(f"paused: {name}; go on with: segbatch schedule resume {name}")
    try:
        uninstall(stored)
    except SegbatchError as error:
        # Paused all the same: what its entry starts looks at the record.
        click.echo(f"its entry stays, and starts nothing: {error}", err=True)
    return 0


@schedule.command()
@name_argument
@home_option
def resume(name: str, home: Path | None) -> int:
    """Let the schedule NAME start its job again; what was due meanwhile is not made up.

    \b
    segbatch schedule resume demo-train
    """
    from segbatch.cluster.cron.installing import install, refuse_elsewhere
    from segbatch.cluster.cron.store import iso

    stored = open_schedule(name, home)
    refuse_elsewhere(stored)
    stored = stored.with_record(paused=False, since=iso(datetime.now(UTC)))
    install(stored)
    click.echo(f"resumed: {name}, {_spoken(stored.record)}")
    _say_next(stored)
    return 0


schedule.add_command(run_now)
schedule.add_command(fire)


def _home(home: Path | None) -> Path:
    from segbatch.cluster.cron.store import default_home

    return home.absolute() if home is not None else default_home()


def _move(before: StoredSchedule, record: ScheduleRecord) -> None:
    """Take an entry out of the table that it was in, if it is to be in another one."""
    from segbatch.cluster.cron.installing import uninstall

    old = before.record
    if old.via != record.via or (old.via == "crontab" and old.host != record.host):
        uninstall(before)


def _spoken(record: ScheduleRecord) -> str:
    from segbatch.runs.words import duration

    rules = record.schedule
    parts = [f"{rules.cron} in {record.zone}", f"overlap: {rules.overlap}"]
    if rules.catch_up:
        parts.append(f"missed starts are made up for {duration(rules.catch_up * 60)}")
    if rules.jitter:
        parts.append(f"up to {duration(rules.jitter * 60)} later")
    return ", ".join(parts)


def _say_next(stored: StoredSchedule) -> None:
    from zoneinfo import ZoneInfo

    from segbatch.cluster.cron.firing import own_delay
    from segbatch.runs.words import duration
    from segbatch.spec.occurrences import following

    record = stored.record
    moment = next(following(record.schedule.cron, record.zone, datetime.now(UTC)))
    later = f", and always {duration(own_delay(stored))} later" if record.schedule.jitter else ""
    click.echo(f"next    {moment.astimezone(ZoneInfo(record.zone)).isoformat(sep=' ', timespec='minutes')}{later}")

"""Commands that start what a schedule is about: when cron says so, or at once."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from segbatch.cli.options import plan_job
from segbatch.cli.pipeline import check_pipeline, is_pipeline_file, submit_pipeline
from segbatch.cli.schedule_options import home_option, name_argument, open_schedule
from segbatch.cli.submit import begin
from segbatch.errors import Exit, NothingToDo, SegbatchError

if TYPE_CHECKING:
    from segbatch.cluster.cron.firing import Firing
    from segbatch.cluster.cron.overlap import Way
    from segbatch.cluster.cron.store import Fire, ScheduleRecord, StoredSchedule
    from segbatch.cluster.works import Work
    from segbatch.runs.plan import Plan
    from segbatch.spec.notify import Notices
    from segbatch.spec.site import Site


def _moment(context: click.Context, option: click.Parameter, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"expected a time such as 2026-11-21T02:00:00+00:00, not {text!r}") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


@click.command()
@name_argument
@home_option
@click.option("--now", callback=_moment, metavar="TIME", help="Take this for the clock, and leave out the delay.")
@click.option("--check", is_flag=True, help="Only find out whether the job could be started from here.")
def fire(name: str, home: Path | None, now: datetime | None, check: bool) -> int:
    """Start the job of the schedule NAME if it is due; this is what cron calls.

    Nothing due is no error, and says nothing.
    """
    stored = open_schedule(name, home)
    if check:
        return _check(stored.record)
    _say(f"woken for {name}, {datetime.now(UTC).isoformat(timespec='seconds')}", to_log=True)
    result = _firing(stored).on_time(now or datetime.now(UTC), wait=now is None)
    return Exit.OK if result is None else _report(stored, result)


@click.command("run-now")
@name_argument
@home_option
def run_now(name: str, home: Path | None) -> int:
    """Start the job of the schedule NAME now, by its rule for a run that is still at work.

    \b
    segbatch schedule run-now demo-train
    """
    stored = open_schedule(name, home)
    result = _firing(stored).by_hand(datetime.now(UTC))
    code = _report(stored, result)
    return code if result.event in ("started", "nothing") else Exit.FAILED


def _firing(stored: StoredSchedule) -> Firing:
    from segbatch.cluster.cron.firing import Firing

    record = stored.record

    def start(way: Way) -> Work:
        if is_pipeline_file(Path(record.job)):
            places = _places(record)
            return submit_pipeline(
                Path(record.job),
                record.sets,
                *places,
                backend=record.backend,
                parallel=None,
                wait=False,
                behind=way.behind,
            )[0]
        planned, site, backend = _planned(record)
        return begin(planned, site, backend, after=way.after)[0]

    return Firing(stored, _site(record), start, time.sleep)


def _planned(record: ScheduleRecord) -> tuple[Plan, Site, str]:
    from segbatch.cluster.backend import choose_backend

    planned, site = plan_job(Path(record.job), record.sets, *_places(record))
    return planned, site, choose_backend(record.backend, site)


def _places(record: ScheduleRecord) -> tuple[Path | None, Path | None]:
    """Site file and folder of all runs, where they were said."""
    return (
        Path(record.site) if record.site is not None else None,
        Path(record.runs) if record.runs is not None else None,
    )


def _site(record: ScheduleRecord) -> Site:
    """The site as far as it matters before the job is read."""
    from segbatch.cli.options import load_site

    return load_site(Path(record.site) if record.site is not None else None)


def _check(record: ScheduleRecord) -> int:
    from segbatch.cli.options import load_site
    from segbatch.cluster.backend import choose_backend
    from segbatch.spec.pipeline_load import load_any

    if is_pipeline_file(Path(record.job)):
        profile = load_any(Path(record.job), record.sets)[0].profile
        choose_backend(record.backend, load_site(_places(record)[0], profile))
        return check_pipeline(Path(record.job), record.sets, *_places(record))
    try:
        planned, _, backend = _planned(record)
    except NothingToDo as error:
        click.echo(f"{record.name}: nothing to do now: {error}")
        return Exit.OK
    click.echo(f"{record.name}: {len(planned.tiles)} tiles in {planned.tasks} tasks on {backend}")
    return Exit.OK


def _report(stored: StoredSchedule, result: Fire) -> int:
    if result.event == "started":
        if not result.by_hand:
            _tidy(stored)
        return Exit.OK
    _say(f"{'nothing to do' if result.event == 'nothing' else result.event}: {result.why}")
    if result.event == "failed" and not result.by_hand:
        _tell(stored, result)
    return Exit.FAILED if result.event == "failed" else Exit.OK


def _tidy(stored: StoredSchedule) -> None:
    """Remove the job's old runs by its own rule, since nobody watches; the run that was started goes on regardless."""
    from segbatch.cli.options import load_site, runs_folder
    from segbatch.cli.prune import lines
    from segbatch.cluster.cron.store import stored as all_stored
    from segbatch.cluster.prune import guards, prune, versions_of_schedules
    from segbatch.spec.pipeline_load import load_any

    record = stored.record
    try:
        job, _ = load_any(Path(record.job), record.sets)
        site = load_site(Path(record.site) if record.site is not None else None, job.profile)
        if not (job.keep or site.keep):
            return
        root = runs_folder(Path(record.runs) if record.runs is not None else None, site, job.output.runs)
        home = stored.folder.parent
        versions = versions_of_schedules(list(all_stored(home)))
        done = prune(root, site, job=job.name, keep=job.keep, protect=guards(home), versions=versions)
    except (SegbatchError, OSError) as error:
        _say(f"old runs were not removed: {error}")
        return
    for line in lines(done, dry=False):
        _say(line)


def _tell(stored: StoredSchedule, result: Fire) -> None:
    """Tell of a start that failed in the night; there is no run that could."""
    from segbatch.cluster.notify.summary import not_started
    from segbatch.cluster.notify.tell import tell_all
    from segbatch.spec.pipeline_load import load_any

    record = stored.record
    notices: Notices = ()
    # The job or the site may be what is wrong.
    with suppress(SegbatchError):
        notices = _site(record).notify
        notices = load_any(Path(record.job), record.sets)[0].notify or notices
    for told in tell_all(notices, not_started(stored.name, record.job, result.why, stored.log)):
        _say(str(told))


def _say(words: str, *, to_log: bool = False) -> None:
    import sys

    if not (to_log and sys.stdout.isatty()):
        click.echo(words)

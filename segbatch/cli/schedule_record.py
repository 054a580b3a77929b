"""What a schedule is, from a job file, a site file and the command line."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segbatch.cli.options import load_site
from segbatch.errors import InputError

if TYPE_CHECKING:
    from segbatch.cluster.cron.store import ScheduleRecord
    from segbatch.spec.schedule import Schedule
    from segbatch.spec.site import Site


def make_record(
    job: Path,
    sets: tuple[str, ...],
    site: Path | None,
    runs_root: Path | None,
    backend: str | None,
    rules: dict[str, str | None],
) -> tuple[ScheduleRecord, Site]:
    """Work out what a schedule would be.

    Args:
        job: the job file.
        sets: overrides, each `a.b=value`.
        site: the site file; found by default.
        runs_root: folder of all runs.
        backend: where tasks run, if that was asked for.
        rules: what the command line says, by option; None where it says nothing.

    Raises:
        InputError: job, site or rules cannot be used.
    """
    from segbatch.cluster.backend import choose_backend
    from segbatch.cluster.cron.store import ScheduleRecord, iso, this_host
    from segbatch.cluster.cron.table import choose_via
    from segbatch.spec.occurrences import machine_zone, missing_zone
    from segbatch.spec.pipeline_load import load_any
    from segbatch.spec.site import find_site

    loaded, _ = load_any(job, sets)
    path = find_site(site, os.environ, Path.cwd(), Path.home())
    found_site = load_site(site, loaded.profile)
    name, via = rules.pop("name") or loaded.name, rules.pop("via") or found_site.cron.via
    said = _schedule(loaded.schedule, rules)
    chosen = choose_via(via)
    if chosen == "scrontab" and choose_backend(backend, found_site) == "local":
        raise InputError(
            "scrontab starts jobs of SLURM, and this job would run on the machine itself. "
            "Choose --via crontab, or --backend slurm."
        )
    here = machine_zone()
    if message := missing_zone(said.zone or here):
        raise InputError(message)
    record = ScheduleRecord(
        name=name,
        job=str(job.absolute()),
        sets=sets,
        site=str(path.absolute()) if path is not None else None,
        runs=str(runs_root.absolute()) if runs_root is not None else None,
        backend=backend,  # type: ignore[arg-type]
        schedule=said,
        zone=said.zone or here,
        here=here,
        via=chosen,
        host=this_host(),
        cwd=str(Path.cwd()),
        python=sys.executable,
        since=iso(datetime.now(UTC)),
    )
    return record, found_site


def _schedule(written: Schedule | None, rules: dict[str, str | None]) -> Schedule:
    """Lay the command line over what the job says."""
    from pydantic import ValidationError

    from segbatch.spec.schedule import Schedule

    plain = written.model_dump(exclude_unset=True) if written is not None else {}
    given = {key: value for key, value in rules.items() if value is not None}
    if "cron" not in plain | given:
        raise InputError('expected --cron "MINUTE HOUR DAY MONTH WEEKDAY", or `schedule: {cron: ...}` in the job file')
    try:
        return Schedule.model_validate(plain | given)
    except ValidationError as error:
        words = [f"--{'.'.join(str(step) for step in one['loc']) or 'cron'}: {one['msg']}" for one in error.errors()]
        raise InputError("\n".join(word.replace("Value error, ", "").replace("_", "-", 1) for word in words)) from None


def made_again(before: ScheduleRecord, record: ScheduleRecord) -> ScheduleRecord:
    """Make the record of a schedule that is added again: a pause stays, and so does what is still to be made up."""
    if Path(before.job) != Path(record.job):
        raise InputError(
            f"there is a schedule {record.name!r} already, for {before.job}. Choose another name with --name, or take "
            f"that one away: segbatch schedule remove {record.name}"
        )
    changes: dict[str, Any] = {"paused": before.paused}
    if (before.schedule, before.zone) == (record.schedule, record.zone):
        changes["since"] = before.since
    return record.model_copy(update=changes)

"""The command that removes old runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from segbatch.cli.options import load_site, runs_folder, runs_option, site_option
from segbatch.cli.schedule_options import home_option
from segbatch.errors import Exit, InputError

if TYPE_CHECKING:
    from segbatch.cluster.prune import Pruning
    from segbatch.spec.keep import Keep
    from segbatch.spec.site import Site


@click.command()
@click.argument("what", required=False, metavar="[FOLDER|JOB]", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Say what would go and what stays, and remove nothing.")
@click.option("--keep-runs", type=click.IntRange(1), help="Newest runs of each job that stay.")
@click.option("--keep-days", type=click.IntRange(1), help="Age in days up to which runs stay.")
@click.option("--keep-checkpoints", type=click.IntRange(0), help="Newest finished train runs that keep checkpoints.")
@runs_option
@site_option
@home_option
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def prune(
    what: Path | None,
    dry_run: bool,
    keep_runs: int | None,
    keep_days: int | None,
    keep_checkpoints: int | None,
    runs_root: Path | None,
    site: Path | None,
    home: Path | None,
    as_json: bool,
) -> int:
    """Remove runs, and versions of models, that `keep:` of their job (or of the site) does not ask to keep.

    A FOLDER of runs (default: ./runs), or the runs of one JOB file. Runs that wait, run or cannot be asked, the newest
    run of a job and its newest good one, the last one of a schedule, and those whose model or masks others use stay. A
    pipeline's run goes as a whole. Champions, the three before, and versions that runs or schedules use stay.

    \b
    segbatch prune --dry-run
    segbatch prune jobs/demo-train.yaml --keep-runs 14
    """
    from segbatch.cluster.cron.store import default_home, stored
    from segbatch.cluster.prune import guards, versions_of_schedules
    from segbatch.cluster.prune import prune as remove

    given = {"runs": keep_runs, "days": keep_days, "checkpoints": keep_checkpoints}
    asked = _asked({key: value for key, value in given.items() if value is not None})
    root, job, keep, found_site = _place(what, runs_root, site)
    place = home.absolute() if home is not None else default_home()
    versions = versions_of_schedules(list(stored(place)))
    done = remove(root, found_site, job=job, keep=asked or keep, protect=guards(place), versions=versions, dry=dry_run)
    if as_json:
        click.echo(json.dumps(_plain(done), indent=2))
    else:
        for line in lines(done, dry=dry_run):
            click.echo(line)
        if not done.looked and not done.models:
            click.echo(
                f"no rule for runs in {root}: say `keep: {{runs: 14}}` in the job or site file, or --keep-runs 14"
            )
    return Exit.FAILED if any(going.trouble for going in done.going) else Exit.OK


def lines(done: Pruning, *, dry: bool) -> Iterator[str]:
    """Say what went (or would go) and what stays."""
    from segbatch.runs.words import size

    for words in done.unreadable:
        yield f"stays   {words}"
    for choice in done.staying:
        yield f"stays   {choice.candidate.label}: {choice.stays} ({choice.why})"
    for going in done.going:
        part = "" if going.choice.what == "run" else " checkpoints"
        label = f"{going.choice.candidate.label}{part}, {size(going.size)}: {going.choice.why}"
        yield f"{'stays' if going.trouble else 'goes' if dry else 'gone'}    {label}{_trouble(going.trouble)}"
    for name, versions in done.models:
        for version in versions.removed:
            yield f"{'goes' if dry else 'gone'}    {name}@{version}: no rule keeps it"
        for version, why in versions.kept:
            yield f"stays   {name}@{version}: {why}"
    went = [going for going in done.going if not going.trouble]
    if done.looked:
        total = size(sum(going.size for going in went))
        runs = sum(going.choice.what == "run" for going in went)
        verb = "to go" if dry else "gone"
        yield f"runs {done.looked}, {verb} {runs}, checkpoints {verb} {len(went) - runs}, {total}"


def _trouble(words: str) -> str:
    return f", BUT {words}" if words else ""


def _asked(given: dict[str, int]) -> Keep | None:
    from segbatch.spec.keep import Keep

    return Keep.model_validate(given) if given else None


def _place(what: Path | None, runs_root: Path | None, site: Path | None) -> tuple[Path, str | None, Keep | None, Site]:
    """Find the folder of runs, and of a job file its name and rule."""
    if what is None or what.is_dir():
        found = load_site(site)
        return (what.absolute() if what is not None else runs_folder(runs_root, found)), None, None, found
    if not what.exists():
        raise InputError(f"{what}: no such folder or job file. Expected a folder of runs, or a job file.")
    from segbatch.spec.pipeline_load import load_any

    job, _ = load_any(what)
    found = load_site(site, job.profile)
    return runs_folder(runs_root, found, job.output.runs), job.name, job.keep, found


def _plain(done: Pruning) -> dict[str, Any]:
    return {
        "looked": done.looked,
        "going": [
            {
                "run": going.choice.candidate.label,
                "folder": str(going.choice.candidate.folder),
                "what": going.choice.what,
                "why": going.choice.why,
                "bytes": going.size,
                "trouble": going.trouble,
            }
            for going in done.going
        ],
        "staying": [
            {"run": choice.candidate.label, "rule": choice.why, "why": choice.stays} for choice in done.staying
        ],
        "models": [
            {"model": name, "going": list(versions.removed), "staying": dict(versions.kept)}
            for name, versions in done.models
        ],
        "unreadable": list(done.unreadable),
    }

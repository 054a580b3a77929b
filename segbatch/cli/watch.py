"""Commands that tell how runs are doing."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from segbatch.cli.options import load_site, named_run, runs_folder, runs_option, site_option
from segbatch.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from segbatch.cluster.works import Work, WorkStatus
    from segbatch.runs.pipelines import Pipeline
    from segbatch.runs.run import Run

TICK_S = 0.5
_SPAN = re.compile(r"(\d+)\s*(min|h|d|w)")
_UNITS = {"min": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@click.command()
@click.argument("run", required=False)
@runs_option
@site_option
@click.option("--watch", is_flag=True, help="Stay until the run is over, keep the display up to date, exit as it did.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def status(run: str | None, runs_root: Path | None, site: Path | None, watch: bool, as_json: bool) -> int:
    """Show how far RUN is (default: the newest run), and why tasks failed.

    Its folder tells; the queue and accounting of SLURM add to it where they can be asked.

    \b
    segbatch status
    segbatch status demo-predict --watch
    """
    from segbatch.cli.display import live_progress
    from segbatch.cli.pipeline import show_status
    from segbatch.cli.status_view import status_view, terminal
    from segbatch.cluster.observe import Observer
    from segbatch.runs.run import Run

    opened = _meant(run, runs_root, site)
    if not isinstance(opened, Run):
        return show_status(opened, site, watch=watch, as_json=as_json)
    observer = Observer(load_site(site))
    found = observer.look(opened)
    if watch and not found.over:
        with live_progress(opened, lambda: observer.look(opened)) as tick:
            while not (found := tick()).over:
                time.sleep(TICK_S)
    if as_json:
        click.echo(json.dumps(found.as_dict(), indent=2))
    else:
        terminal().print(status_view(found))
    return found.exit_code if watch else 0


def _meant(run: str | None, runs_root: Path | None, site: Path | None) -> Run | Pipeline:
    """Open what is named; without a name, the newest run or pipeline."""
    from segbatch.cli.pipeline import named_pipeline
    from segbatch.runs.layout import run_folders
    from segbatch.runs.pipelines import is_pipeline_run, open_pipeline, pipeline_folders
    from segbatch.runs.run import open_run

    if run is not None:
        return named_pipeline(run, runs_root, site) or named_run(run, runs_root, site)
    root = runs_folder(runs_root, load_site(site))
    folders = sorted([*run_folders(root), *pipeline_folders(root)], key=lambda folder: folder.name)
    if not folders:
        raise InputError(f"no runs in {root}. Start one with `segbatch submit JOB`, or say where they are with --runs.")
    newest = folders[-1]
    return open_pipeline(newest) if is_pipeline_run(newest) else open_run(newest)


def _moment(context: click.Context, option: click.Parameter, text: str | None) -> datetime | None:
    """Read a date, a date with time, or a span before now such as 3d."""
    if text is None:
        return None
    if match := _SPAN.fullmatch(text.strip()):
        return datetime.now(UTC) - timedelta(**{_UNITS[match[2]]: int(match[1])})
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        raise click.BadParameter(
            f"expected a date such as 2026-01-31, or a span such as 12h or 3d, not {text!r}"
        ) from None


def _state(context: click.Context, option: click.Parameter, text: str | None) -> str | None:
    """Check a state by its name; the names are read only now, so that help stays quick."""
    from segbatch.runs.status import RunState

    if text is not None and text not in get_args(RunState):
        raise click.BadParameter(f"expected one of {', '.join(get_args(RunState))}, not {text!r}")
    return text


@click.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@runs_option
@site_option
@click.option("--job", help="Only runs of this job.")
@click.option(
    "--kind", type=click.Choice(["train", "predict", "evaluate", "gate", "pipeline"]), help="Only runs of this kind."
)
@click.option("--state", callback=_state, help="Only runs in this state, such as running or failed.")
@click.option("--backend", type=click.Choice(["local", "slurm"]), help="Only runs whose tasks went there.")
@click.option("--since", callback=_moment, help="Only runs made since: a date, or a span such as 12h, 3d or 2w.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def runs(
    folder: Path | None,
    runs_root: Path | None,
    site: Path | None,
    job: str | None,
    kind: str | None,
    state: str | None,
    backend: str | None,
    since: datetime | None,
    as_json: bool,
) -> int:
    """List the runs under FOLDER (default: ./runs), oldest first; a pipeline's, which is several, is one of them.

    \b
    segbatch runs
    segbatch runs --kind train --state done
    segbatch runs --backend slurm --since 3d
    """
    from segbatch.cli.status_view import terminal
    from segbatch.cluster.works import look_all

    loaded = load_site(site)
    root = folder or runs_folder(runs_root, loaded)
    opened = list(_readable(root))
    chosen = [
        run
        for run in opened
        if job in (None, run.record.name) and kind in (None, _kind(run)) and _made_since(run, since)
    ]
    looked = look_all(chosen, loaded)
    found = [status for status in looked if state in (None, status.state) and backend in (None, status.backend)]
    if as_json:
        click.echo(json.dumps([status.as_dict() for status in found], indent=2))
        return 0
    if not found:
        click.echo(f"no runs in {root}" if not opened else f"none of the {len(opened)} runs in {root} matches")
        return 0
    terminal().print(_listed(found))
    notes = [note for status in found for note in getattr(status, "notes", ())]
    for note in dict.fromkeys(note for note in notes if "cannot be asked" in note):
        click.echo(f"note: {note}", err=True)
    return 0


def _kind(run: Work) -> str:
    from segbatch.runs.run import Run

    return run.record.kind if isinstance(run, Run) else "pipeline"


def _made_since(run: Work, since: datetime | None) -> bool:
    try:
        return since is None or datetime.fromisoformat(run.record.created) >= since
    except (ValueError, TypeError):
        return True


def _listed(found: list[WorkStatus]) -> Table:
    from rich.table import Table

    from segbatch.cli.status_view import COLORS
    from segbatch.runs.pipeline_status import PipelineStatus
    from segbatch.runs.words import duration

    table = Table(box=None, pad_edge=False)
    # The run's name is what other commands take, so it is never cut short.
    table.add_column("run", no_wrap=True, min_width=max(len(status.label) for status in found))
    for column in ("kind", "where", "created", "state", "done", "left"):
        table.add_column(column, no_wrap=True)
    for status in found:
        work = status.pipeline if isinstance(status, PipelineStatus) else status.run
        left = None if isinstance(status, PipelineStatus) else status.seconds_left
        table.add_row(
            status.label,
            _kind(work),
            status.backend or "-",
            work.record.created.replace("+00:00", "Z"),
            f"[{COLORS.get(status.state, 'white')}]{status.words}[/]",
            f"{status.done}/{status.total}",
            duration(left) if not status.over else "-",
        )
    return table


def _readable(root: Path) -> Iterator[Work]:
    """Yield the runs that can be opened, and say of the others that they cannot."""
    from segbatch.cluster.works import open_work
    from segbatch.runs.layout import run_folders
    from segbatch.runs.pipelines import pipeline_folders

    folders = {*run_folders(root), *pipeline_folders(root)}
    for folder in sorted(folders, key=lambda path: (path.name, path.parent.name)):
        try:
            yield open_work(folder)
        except InputError as error:
            click.echo(str(error).splitlines()[0], err=True)

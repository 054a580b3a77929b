"""Commands that look at runs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from segbatch.cli.options import load_site, named_run, run_argument, runs_folder, runs_option, site_option
from segbatch.errors import InputError

if TYPE_CHECKING:
    from segbatch.runs.run import Run

WATCH_INTERVAL_S = 1.0
FOLLOW_INTERVAL_S = 0.5


@click.command()
@click.argument("run", required=False)
@runs_option
@site_option
@click.option("--watch", is_flag=True, help="Stay and keep the display up to date until the run is over.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def status(run: str | None, runs_root: Path | None, site: Path | None, watch: bool, as_json: bool) -> int:
    """Show how far RUN is (default: the newest run), from its folder alone.

    \b
    segbatch status
    segbatch status demo-predict --watch
    """
    from rich.console import Console

    from segbatch.cli.display import live_progress, status_view
    from segbatch.runs.status import run_status

    opened = named_run(run, runs_root, site) if run else _newest(runs_root, site)
    if watch:
        with live_progress(opened) as tick:
            while run_status(opened).state == "running":
                tick()
                time.sleep(WATCH_INTERVAL_S)
    found = run_status(opened)
    if as_json:
        click.echo(json.dumps(found.as_dict(), indent=2))
    else:
        Console().print(status_view(found))
    return 0


def _newest(runs_root: Path | None, site: Path | None) -> Run:
    from segbatch.runs.layout import run_folders
    from segbatch.runs.run import open_run

    root = runs_folder(runs_root, load_site(site))
    folders = list(run_folders(root))
    if not folders:
        raise InputError(f"no runs in {root}. Start one with `segbatch submit JOB`, or say where they are with --runs.")
    return open_run(folders[-1])


@click.command()
@run_argument
@click.argument("task", required=False)
@runs_option
@site_option
@click.option("-f", "--follow", is_flag=True, help="Stay and print what is added until the run is over.")
@click.option("--failed", is_flag=True, help="Only tasks whose last attempt failed or was killed.")
def logs(run: str, task: str | None, runs_root: Path | None, site: Path | None, follow: bool, failed: bool) -> int:
    """Print the logs of RUN, or of one TASK (its number, or `finish`).

    \b
    segbatch logs demo-train -f
    segbatch logs demo-predict 3
    """
    from segbatch.runs.status import run_status

    opened = named_run(run, runs_root, site)
    paths = _log_files(opened, task, failed)
    if not paths and not follow:
        click.echo("no logs yet" if not failed else "no task failed")
        return 0
    offsets: dict[Path, int] = {}
    while True:
        over = run_status(opened).state != "running"
        _print_new(_log_files(opened, task, failed), offsets)
        if not follow or over:
            return 0
        time.sleep(FOLLOW_INTERVAL_S)


def _log_files(run: Run, task: str | None, failed: bool) -> list[Path]:
    if task is not None:
        if task not in {str(number) for number in run.tasks} | {"finish", "runner"}:
            raise InputError(f"task {task!r}: expected a number from 0 to {len(run.tasks) - 1}, or `finish`.")
        names: list[str] = [task]
    else:
        names = ["runner"] + [str(number) for number in run.tasks] + ["finish"]
    if failed:
        from segbatch.runs.status import task_status

        bad = {"failed", "killed"}
        names = [name for name in names[1:] if task_status(run, int(name) if name.isdigit() else name).state in bad]
    return [path for path in map(run.paths.log, names) if path.exists() and path.stat().st_size]


def _print_new(paths: list[Path], offsets: dict[Path, int]) -> None:
    for path in paths:
        with path.open("rb") as handle:
            handle.seek(offsets.get(path, 0))
            data = handle.read()
        if data:
            if len(paths) > 1:
                click.echo(f"==> {path.name} <==")
            click.echo(data.decode(errors="replace"), nl=False)
            offsets[path] = offsets.get(path, 0) + len(data)


@click.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@runs_option
@site_option
@click.option("--job", help="Only runs of this job.")
@click.option("--kind", type=click.Choice(["train", "predict", "evaluate"]), help="Only runs of this kind.")
@click.option("--state", help="Only runs in this state, such as running or failed.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def runs(
    folder: Path | None,
    runs_root: Path | None,
    site: Path | None,
    job: str | None,
    kind: str | None,
    state: str | None,
    as_json: bool,
) -> int:
    """List the runs under FOLDER (default: ./runs), oldest first.

    \b
    segbatch runs
    segbatch runs --kind train --state done
    """
    from rich.console import Console
    from rich.table import Table

    from segbatch.cli.display import COLORS
    from segbatch.runs.status import run_status

    root = folder or runs_folder(runs_root, load_site(site))
    opened = list(_readable(root))
    chosen = [run for run in opened if job in (None, run.record.name) and kind in (None, run.record.kind)]
    found = [status for status in map(run_status, chosen) if state in (None, status.state)]
    if as_json:
        click.echo(json.dumps([status.as_dict() for status in found], indent=2))
        return 0
    if not found:
        click.echo(f"no runs in {root}" if not opened else f"none of the {len(opened)} runs in {root} matches")
        return 0
    table = Table(box=None, pad_edge=False)
    for column in ("run", "kind", "created", "state", "done"):
        table.add_column(column, no_wrap=True)
    for status in found:
        record = status.run.record
        done = f"{status.done}/{status.total}"
        colored = f"[{COLORS.get(status.state, 'white')}]{status.state}[/]"
        table.add_row(status.run.label, record.kind, record.created.replace("+00:00", "Z"), colored, done)
    Console(soft_wrap=True).print(table)
    return 0


def _readable(root: Path) -> Iterator[Run]:
    """Yield the runs that can be opened, and say of the others that they cannot."""
    from segbatch.runs.layout import run_folders
    from segbatch.runs.run import open_run

    for folder in run_folders(root):
        try:
            yield open_run(folder)
        except InputError as error:
            click.echo(str(error).splitlines()[0], err=True)

"""The command that shows what tasks print."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from segbatch.cli.options import load_site, named_run, run_argument, runs_option, site_option
from segbatch.errors import InputError

if TYPE_CHECKING:
    from segbatch.runs.run import Run
    from segbatch.runs.status import RunStatus

FOLLOW_INTERVAL_S = 0.5
PIECE = 1 << 20
"""Bytes of a log that are held in memory at once."""


@click.command()
@run_argument
@click.argument("task", required=False)
@runs_option
@site_option
@click.option("-f", "--follow", is_flag=True, help="Stay and print what is added until the run is over.")
@click.option("--failed", is_flag=True, help="Only tasks whose last attempt failed or was killed: their newest log.")
def logs(run: str, task: str | None, runs_root: Path | None, site: Path | None, follow: bool, failed: bool) -> int:
    """Print the logs of RUN, or of one TASK (its number, or `finish`), each under its path.

    Of a pipeline: what started its stages or, with a stage's name for TASK, the logs of that stage.

    \b
    segbatch logs demo-train -f
    segbatch logs demo-predict 3
    segbatch logs demo-predict --failed
    """
    from segbatch.cli.display import Sight
    from segbatch.cli.pipeline import named_pipeline, print_logs, stage_run
    from segbatch.cluster.observe import Observer

    pipeline = named_pipeline(run, runs_root, site)
    if pipeline is not None and task is None:
        return print_logs(pipeline)
    opened = named_run(run, runs_root, site) if pipeline is None else stage_run(pipeline, task or "")
    task = task if pipeline is None else None
    names = _names(opened, task)
    observer = Observer(load_site(site))
    sight = Sight(lambda: observer.look_all([opened], explain=False)[0])
    printer = _Printer()
    while True:
        # Looked up before the logs are read: what a task wrote before its end is printed for certain.
        found = sight.status() if follow or failed else None
        printed = [printer.show(path) for path in _files(opened, names, found if failed else None)]
        if found is None or not follow or found.over:
            break
        time.sleep(FOLLOW_INTERVAL_S)
    if not printed:
        click.echo(f"no task of {opened.label} failed" if failed and not _bad(found, names) else _nothing(opened, task))
    return 0


def _names(run: Run, task: str | None) -> list[int | str]:
    """Return the tasks that are meant, in the order of their logs; `runner` is what starts local ones."""
    if task is None:
        return ["runner", *run.tasks, "finish"]
    if task in ("runner", "finish"):
        return [task]
    if not task.isdecimal() or int(task) not in run.tasks:
        raise InputError(f"task {task!r}: expected a number from 0 to {len(run.tasks) - 1}, or `finish`.")
    return [int(task)]


def _files(run: Run, names: list[int | str], failed: RunStatus | None) -> Iterator[Path]:
    """Yield the logs there are: of each task the newest last; of failed tasks the newest alone."""
    from segbatch.cluster.troubles import log_files
    from segbatch.runs.arrays import read_arrays

    arrays = read_arrays(run.paths)
    wanted = names if failed is None else _bad(failed, names)
    for name in wanted:
        files = [path for path in log_files(run.paths, arrays, name) if path.stat().st_size]
        yield from files[-1:] if failed is not None else files


def _bad(status: RunStatus | None, names: list[int | str]) -> list[int | str]:
    found = [task.name for task in status.everything() if task.state in ("failed", "killed")] if status else []
    return [name for name in names if str(name) in found]


def _nothing(run: Run, task: str | None) -> str:
    what = f"task {task} of {run.label}" if task is not None else run.label
    return f"{what} has no log yet in {run.paths.logs}"


class _Printer:
    """Prints what files have gained since they were last shown, under a line with their path."""

    def __init__(self) -> None:
        self._offsets: dict[Path, int] = {}
        self._last: Path | None = None

    def show(self, path: Path) -> Path:
        """Print what is new in a file."""
        offset = self._offsets.get(path, 0)
        if path.stat().st_size <= offset:
            return path
        if path != self._last:
            click.echo(f"==> {path} <==")
            self._last = path
        with path.open("rb") as handle:
            handle.seek(offset)
            while piece := handle.read(PIECE):
                click.echo(piece.decode(errors="replace"), nl=False)
                offset += len(piece)
        self._offsets[path] = offset
        return path

"""Starting the tasks of a run on this machine or on SLURM, and waiting for their end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from segbatch.cluster.slurm.scheduler import SlurmScheduler, Submitted
    from segbatch.runs.run import Run
    from segbatch.spec.site import Site

WATCH_INTERVAL_S = 1.0

backend_option = click.option(
    "--backend",
    type=click.Choice(["auto", "local", "slurm"]),
    help="Where tasks run. Default: the site's, or where the run was before; `auto` is SLURM where there is one.",
)


def start_here(run: Run, site: Site, *, parallel: int | None, wait: bool, force: bool = False) -> int:
    """Run a run's tasks on this machine; with `wait`, stay until they end."""
    from segbatch.cluster.local import LocalRunner, LocalScheduler, at_once

    together = at_once(run, parallel, site)
    if not wait:
        LocalScheduler(together, force, site).submit(run)
        click.echo(f"watch it with: segbatch status {run.paths.folder} --watch")
        return 0
    from segbatch.cli.display import live_progress

    with live_progress(run) as tick:
        LocalRunner(run, together, on_tick=tick, force=force, site=site).execute()
    return _outcome(run)


def start_on_slurm(run: Run, scheduler: SlurmScheduler, begin: Callable[[], Submitted], *, wait: bool) -> int:
    """Submit a run's tasks to SLURM; with `wait`, stay until they end."""
    _say(begin())
    if not wait:
        click.echo(f"watch it with: segbatch status {run.paths.folder} --watch")
        return 0
    try:
        watch_on_slurm(run, scheduler)
    except KeyboardInterrupt:
        click.echo(
            f"\n{run.label} goes on without this terminal. Watch it with: segbatch status {run.paths.folder} --watch\n"
            f"Stop it with: segbatch cancel {run.paths.folder}",
            err=True,
        )
        return 130
    return _outcome(run, scheduler)


def _say(made: Submitted) -> None:
    if made.arrays:
        click.echo(f"SLURM   {made.tasks} tasks as job array {', '.join(made.arrays)}")
    if made.live:
        click.echo(f"        {made.live} tasks of before still wait or run")
    click.echo(f"        then job {made.finish} merges and reports")
    for job in made.released:
        click.echo(f"        job {job} was held and is released")
    for job in made.cleared:
        click.echo(f"        job {job} waited for something that cannot come any more, and is removed")


def watch_on_slurm(run: Run, scheduler: SlurmScheduler) -> None:
    """Show how far a run is until it is over."""
    from segbatch.cli.display import live_progress
    from segbatch.cluster.observe import Observer

    observer = Observer(scheduler.site, scheduler.view)
    with live_progress(run, lambda: observer.look(run)) as tick:
        while not tick().over:
            time.sleep(WATCH_INTERVAL_S)


def _outcome(run: Run, scheduler: SlurmScheduler | None = None) -> int:
    from segbatch.cli.display import print_outcome
    from segbatch.cli.report import print_scores
    from segbatch.cluster.observe import observe

    code = print_outcome(run, (lambda: observe(run, scheduler.site, view=scheduler.view)) if scheduler else None)
    print_scores(run)
    return code

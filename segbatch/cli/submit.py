"""The command that starts a run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from segbatch.cli.bar import counting
from segbatch.cli.options import (
    job_argument,
    named_run,
    parallel_option,
    plan_job,
    runs_option,
    set_option,
    site_option,
    wait_option,
)
from segbatch.cli.start import backend_option, start_here, start_on_slurm
from segbatch.errors import InputError

if TYPE_CHECKING:
    from segbatch.runs.plan import Plan
    from segbatch.runs.run import Run
    from segbatch.spec.site import Site


@click.command()
@job_argument
@set_option
@site_option
@runs_option
@backend_option
@parallel_option
@wait_option
@click.option("--hold", is_flag=True, help="On SLURM: the tasks wait until `segbatch resume RUN` releases them.")
@click.option("--after", metavar="RUN", help="On SLURM: start only when this run has ended well.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and write nothing.")
def submit(
    job: Path,
    sets: tuple[str, ...],
    site: Path | None,
    runs_root: Path | None,
    backend: str | None,
    parallel: int | None,
    wait: bool,
    hold: bool,
    after: str | None,
    dry_run: bool,
) -> int:
    """Start a run of JOB, on SLURM where there is one, else on this machine.

    The run goes on when the terminal closes; on this machine not with --wait.

    \b
    segbatch submit jobs/demo-train.yaml --wait
    segbatch submit jobs/demo-predict.yaml --set predict.tasks=4 --parallel 2
    segbatch submit jobs/demo-predict.yaml --backend slurm --after demo-train
    """
    from segbatch.cli.pipeline import is_pipeline_file, plan_pipeline, submit_pipeline
    from segbatch.cluster.backend import choose_backend

    if is_pipeline_file(job):
        _no_options_of_runs(hold, after)
        if dry_run:
            return plan_pipeline(job, sets, site, runs_root, backend)
        return submit_pipeline(job, sets, site, runs_root, backend=backend, parallel=parallel, wait=wait)[1]
    planned, found_site = plan_job(job, sets, site, runs_root)
    chosen = choose_backend(backend, found_site)
    if chosen == "local" and (hold or after):
        option = "--hold" if hold else "--after"
        raise click.UsageError(f"{option} is for SLURM; this run would start on this machine (see --backend)")
    if dry_run:
        from segbatch.cli.plan import print_plan

        print_plan(planned, found_site, chosen)
        return 0
    dependency = _dependency(after, runs_root, found_site, site)
    return begin(planned, found_site, chosen, parallel=parallel, wait=wait, hold=hold, after=dependency)[1]


def begin(
    planned: Plan,
    site: Site,
    backend: str,
    *,
    parallel: int | None = None,
    wait: bool = False,
    hold: bool = False,
    after: str = "",
) -> tuple[Run, int]:
    """Make a run of a plan and start it.

    Args:
        planned: what to do.
        site: the cluster.
        backend: `local` or `slurm`.
        parallel: tasks at once on this machine.
        wait: stay until the run ends.
        hold: on SLURM, the tasks wait until they are released.
        after: on SLURM, what the tasks wait for, as sbatch takes it.

    Returns:
        The run, and the exit code of a command that started it.
    """
    if planned.needs_pilot:
        planned = _with_pilot(planned, site, backend)
    if backend != "slurm":
        run = _create(planned, site, backend)
        return run, start_here(run, site, parallel=parallel, wait=wait)
    from segbatch.cluster.backend import slurm_scheduler

    scheduler = slurm_scheduler(site)
    scheduler.check(planned.tasks)
    run = _create(planned, site, backend)
    return run, start_on_slurm(run, scheduler, lambda: scheduler.start(run, hold=hold, after=after), wait=wait)


def _with_pilot(planned: Plan, site: Site, backend: str) -> Plan:
    """Measure on the first tiles how fast the job is where its tasks run, and cut the work up by that."""
    from segbatch.cli.pilot import run_pilot

    measured = run_pilot(planned, site, backend)
    ready = planned.with_measured([*planned.measured, measured])
    click.echo(
        f"pilot   {measured.rate:.1f} tiles/s on {measured.node}: {ready.tasks} tasks of {ready.shard_size} tiles, "
        f"{ready.job.resources.time} min each at most"
    )
    return ready


def _no_options_of_runs(hold: bool, after: str | None) -> None:
    if hold or after:
        raise click.UsageError(f"{'--hold' if hold else '--after'} is for a single job; this file is a pipeline")


def _create(planned: Plan, site: Site, backend: str) -> Run:
    from segbatch.cluster.containers.check import check_plan
    from segbatch.runs.creation import create_run

    image = check_plan(planned, site, backend)
    _look_for_rasterio(planned, site, backend)
    _check_engine(planned, site, backend)
    if planned.left_out:
        click.echo(f"left out: {planned.left_out}; `segbatch check` shows them", err=True)
    with counting("writing tiles:") as tick:
        run = create_run(planned, image=image, tick=tick)
    click.echo(f"run     {run.label}")
    click.echo(f"folder  {run.paths.folder}")
    return run


def _check_engine(planned: Plan, site: Site, backend: str) -> None:
    """Refuse an engine that is not there, where tasks run by this very Python."""
    from segbatch.spec.engines import require
    from segbatch.spec.job import PredictJob

    contained = planned.job.container.runtime != "none" or site.container is not None
    if not isinstance(planned.job, PredictJob) or backend != "local" or site.python or contained:
        return
    if planned.job.predict.engine not in ("auto", "tensorflow"):
        require(planned.job.predict.engine)


def _look_for_rasterio(planned: Plan, site: Site, backend: str) -> None:
    """Refuse TIFF files that tasks on this machine could not read, and doubt it of those elsewhere."""
    from importlib.util import find_spec

    from segbatch.cluster.containers.inside import chosen_container
    from segbatch.runs.walk import is_tiff

    if find_spec("rasterio") is not None or chosen_container(planned.job, site) is not None:
        return
    first = next((tile.name for tile in planned.tiles if is_tiff(tile.image) or is_tiff(tile.mask)), None)
    if first is None:
        return
    message = f"TIFF files, such as {first}, are read with rasterio, which {sys.executable} lacks"
    if backend == "local":
        raise InputError(f"{message}. Install it there: pip install 'segbatch[worker,geo]'")
    click.echo(f"note: {message}; the Python that runs tasks needs it: pip install 'segbatch[worker,geo]'", err=True)


def _dependency(after: str | None, runs_root: Path | None, site: Site, site_path: Path | None) -> str:
    if after is None:
        return ""
    from segbatch.cluster.backend import slurm_scheduler

    return slurm_scheduler(site).ends_well(named_run(after, runs_root, site_path))

"""The command that starts a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

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
    from segbatch.cluster.backend import choose_backend

    planned, found_site = plan_job(job, sets, site, runs_root)
    chosen = choose_backend(backend, found_site)
    if chosen == "local" and (hold or after):
        option = "--hold" if hold else "--after"
        raise click.UsageError(f"{option} is for SLURM; this run would start on this machine (see --backend)")
    if dry_run:
        from segbatch.cli.plan import print_plan

        print_plan(planned, found_site, chosen)
        return 0
    if chosen == "slurm":
        return _submit_to_slurm(planned, found_site, _dependency(after, runs_root, found_site, site), hold, wait)
    run = _create(planned, found_site, chosen)
    return start_here(run, found_site, parallel=parallel, wait=wait)


def _create(planned: Plan, site: Site, backend: str) -> Run:
    from segbatch.cluster.containers.check import check_plan
    from segbatch.runs.plan import create_run

    image = check_plan(planned, site, backend)
    _check_engine(planned, site, backend)
    if planned.left_out:
        click.echo(f"left out: {planned.left_out}; `segbatch check` shows them", err=True)
    run = create_run(planned, image=image)
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


def _submit_to_slurm(planned: Plan, site: Site, after: str, hold: bool, wait: bool) -> int:
    from segbatch.cluster.backend import slurm_scheduler

    scheduler = slurm_scheduler(site)
    scheduler.check(planned.tasks)
    run = _create(planned, site, "slurm")
    return start_on_slurm(run, scheduler, lambda: scheduler.start(run, hold=hold, after=after), wait=wait)


def _dependency(after: str | None, runs_root: Path | None, site: Site, site_path: Path | None) -> str:
    if after is None:
        return ""
    from segbatch.cluster.backend import slurm_scheduler

    return slurm_scheduler(site).ends_well(named_run(after, runs_root, site_path))

"""The pilot of a job whose tasks depend on how fast it is: run, waited for, kept, and cleared away."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from segbatch.errors import Exit, Interrupted, SegbatchError

if TYPE_CHECKING:
    from segbatch.runs.measured import Measured
    from segbatch.runs.plan import Plan
    from segbatch.runs.run import Run
    from segbatch.spec.site import Site

LAST_WORDS_S = 30.0
"""Seconds that the batch script of a finishing job may take for its last lines."""


def run_pilot(planned: Plan, site: Site, backend: str) -> Measured:
    """Run a plan's pilot to its end.

    Raises:
        SegbatchError: it failed; its run stays, to be looked at.
    """
    from segbatch.cluster.containers.check import check_plan
    from segbatch.runs.pilot_run import create_pilot, read_pilot
    from segbatch.runs.trash import discard

    run = create_pilot(planned, check_plan(planned, site, backend))
    click.echo(f"pilot   {run.record.tiles} tiles, to see how fast the model is where tasks run: {run.paths.folder}")
    try:
        if _execute(run, site, backend) == Exit.INTERRUPTED:
            raise Interrupted(f"{run.label}: the pilot was stopped, and nothing else was begun.")
    except KeyboardInterrupt:
        _stop(run, site, backend)
        raise
    measured = read_pilot(run)
    if measured is None:
        raise SegbatchError(
            f"{run.label}: the pilot that was to measure this job's speed did not get that far.\n"
            f"See: segbatch logs {run.paths.folder}\nOr give a number of tasks: --set predict.tasks=8"
        )
    discard(run.paths.folder, planned.runs_root)
    return measured


def _execute(run: Run, site: Site, backend: str) -> int:
    from segbatch.cli.display import live_progress

    if backend != "slurm":
        from segbatch.cluster.local import LocalRunner

        with live_progress(run) as tick:
            return LocalRunner(run, 1, on_tick=tick, site=site).execute()
    from segbatch.cli.start import watch_on_slurm
    from segbatch.cluster.backend import slurm_scheduler

    scheduler = slurm_scheduler(site.model_copy(update={"notify": ()}))
    scheduler.start(run)
    watch_on_slurm(run, scheduler)
    _hear_out(run)
    return Exit.OK


def _hear_out(run: Run) -> None:
    """Wait for the last line of the finishing job's batch script: written later, it would bring the folder back."""
    from segbatch.runs.host import read_host
    from segbatch.runs.layout import FINISH

    until = time.monotonic() + LAST_WORDS_S
    while time.monotonic() < until:
        attempts = read_host(run.paths.task(FINISH))
        if attempts and attempts[-1].ended is not None:
            return
        time.sleep(0.1)


def _stop(run: Run, site: Site, backend: str) -> None:
    if backend == "slurm":
        from segbatch.cluster.backend import slurm_scheduler

        slurm_scheduler(site).cancel(run)

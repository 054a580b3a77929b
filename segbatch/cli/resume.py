"""Commands that go on with runs and stop them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from segbatch.cli.options import (
    load_site,
    named_run,
    parallel_option,
    run_argument,
    runs_option,
    site_option,
    wait_option,
)
from segbatch.cli.start import backend_option, start_here, start_on_slurm
from segbatch.errors import InputError, SegbatchError

if TYPE_CHECKING:
    from segbatch.runs.run import Run


@click.command()
@run_argument
@runs_option
@site_option
@backend_option
@parallel_option
@wait_option
@click.option(
    "--force",
    is_flag=True,
    help="Go on although it cannot be asked whether the run is still at work, in another container image, or, for a "
    "training, although its job or its data were changed.",
)
@click.option("--tasks", type=click.IntRange(min=1), help="Cut what is missing into so many tasks; not for train runs.")
@click.option("--verify", is_flag=True, help="Read every mask again, also those of predict tasks that ended well.")
def resume(
    run: str,
    runs_root: Path | None,
    site: Path | None,
    backend: str | None,
    parallel: int | None,
    wait: bool,
    force: bool,
    tasks: int | None,
    verify: bool,
) -> int:
    """Go on with RUN: what is missing, damaged or was rejected is done again, and nothing else.

    RUN is a run's folder, its id, or a job's name for its newest run. On SLURM, tasks that wait or run are left
    alone, held ones are released, and lost answers of sbatch are looked up.

    Predict tasks that ended well have had their masks written to disk, and are not looked at again, unless --verify
    asks for it. Masks of tasks that were killed or stopped, and all that an evaluate run counts, are checked file by
    file: by size and CRC-32.

    \b
    segbatch resume demo-predict --wait
    segbatch resume demo-predict --verify
    segbatch resume demo-predict --tasks 8 --parallel 2
    """
    from segbatch.cli.pipeline import named_pipeline, resume_pipeline
    from segbatch.cluster.backend import backend_of, slurm_scheduler
    from segbatch.cluster.containers.check import check_run
    from segbatch.runs.outputs import unfinished
    from segbatch.runs.status import run_status

    pipeline = named_pipeline(run, runs_root, site)
    if pipeline is not None:
        if tasks is not None:
            raise click.UsageError("--tasks is for a single run; name that of one stage")
        return resume_pipeline(pipeline, site, backend=backend, parallel=parallel, wait=wait, force=force)
    opened = named_run(run, runs_root, site)
    found_site = load_site(site, opened.job.profile)
    where = backend_of(opened, backend, found_site)
    scheduler = slurm_scheduler(found_site, force=force) if where == "slurm" or _on_slurm(opened) else None
    live = scheduler is not None and bool(scheduler.live(opened).rows)
    if live and where == "local":
        raise SegbatchError(
            f"{opened.label} waits or runs on SLURM. Stop it there first: segbatch cancel {opened.paths.folder}"
        )
    if verify and opened.record.kind == "predict":
        _look_again(opened)
    if tasks is not None:
        if live:
            raise SegbatchError(
                f"{opened.label} waits or runs on SLURM; its tasks cannot be cut anew. "
                f"Stop it first: segbatch cancel {opened.paths.folder}"
            )
        opened = _cut_anew(opened, tasks, force)
    if force and opened.record.kind == "train" and not live:
        from segbatch.runs.forcing import force as force_training

        force_training(opened)
    state = run_status(opened)
    if state.state == "done" and not unfinished(opened):
        click.echo(f"{opened.label} is done already; nothing to resume")
        return state.code or 0
    check_run(opened, found_site, where, force=force)
    if where == "local" or scheduler is None:
        return start_here(opened, found_site, parallel=parallel, wait=wait, force=force)
    _refuse_local(opened, force)
    started = scheduler
    return start_on_slurm(opened, started, lambda: started.start(opened), wait=wait)


def _look_again(run: Run) -> None:
    """Read all masks, and say how many are not what they were."""
    from segbatch.runs.outputs import verify_marks

    lost = verify_marks(run)
    if lost:
        click.echo(f"{lost} masks of tasks that ended well are gone or changed; they are made again")


def _on_slurm(run: Run) -> bool:
    from segbatch.runs.ledger import submissions

    return any(item.facts.get("backend") == "slurm" for item in submissions(run.paths))


def _refuse_local(run: Run, force: bool) -> None:
    """Refuse to go on at SLURM while processes of this machine are at the run."""
    from segbatch.cluster.local import refuse_running

    if not _on_slurm(run):
        refuse_running(run, force=force)


def _cut_anew(run: Run, tasks: int, force: bool) -> Run:
    """Share out what is missing over so many new tasks, and say what came of it."""
    from segbatch.cluster.local import refuse_busy
    from segbatch.runs.recut import recut

    if not _on_slurm(run):
        refuse_busy(run, force=force)
    made = recut(run, tasks)
    if made.tasks:
        click.echo(f"{made.missing} tiles to do, in {len(made.tasks)} new tasks from number {made.tasks[0]} on")
        if len(made.tasks) < tasks:
            what = f"batches of {made.batch_tiles} tiles" if made.batch_tiles > 1 else "tiles"
            click.echo(f"not {tasks} tasks: there are only {made.batches} {what} to do", err=True)
    return made.run


@click.command()
@run_argument
@runs_option
@site_option
@click.option("--now", is_flag=True, help="Kill the tasks; what is done is kept all the same.")
def cancel(run: str, runs_root: Path | None, site: Path | None, now: bool) -> int:
    """Stop RUN: its tasks finish the batch in hand and journal it, so that `resume` can go on.

    \b
    segbatch cancel demo-predict
    """
    from segbatch.cli.pipeline import cancel_pipeline, named_pipeline
    from segbatch.cluster.backend import slurm_scheduler
    from segbatch.cluster.local import LocalScheduler
    from segbatch.cluster.scheduler import Scheduler

    pipeline = named_pipeline(run, runs_root, site)
    if pipeline is not None:
        return cancel_pipeline(pipeline, site, now=now)
    opened = named_run(run, runs_root, site)
    scheduler: Scheduler = LocalScheduler()
    if _on_slurm(opened):
        scheduler = slurm_scheduler(load_site(site, opened.job.profile))
    if not scheduler.cancel(opened, now=now):
        click.echo(f"{opened.label} is not running")
        return 0
    how = "its tasks are killed" if now else "its tasks finish the batch in hand"
    click.echo(f"{opened.label}: asked to stop; {how}")
    click.echo(f"continue later with: segbatch resume {opened.paths.folder}")
    return 0


@click.command()
@run_argument
@click.argument("task", type=int)
@runs_option
@site_option
@click.option("--force", is_flag=True, help="Start it although the run began in another container image.")
def requeue(run: str, task: int, runs_root: Path | None, site: Path | None, force: bool) -> int:
    """Start one TASK of RUN anew on SLURM, such as one that hangs; what it has done is kept.

    \b
    segbatch requeue demo-predict 3
    """
    from segbatch.cluster.backend import slurm_scheduler
    from segbatch.cluster.containers.check import check_run

    opened = named_run(run, runs_root, site)
    _check_task(opened, task)
    if not _on_slurm(opened):
        raise InputError(
            f"{opened.label} is not on SLURM. Go on with all that is missing: segbatch resume {opened.paths.folder}"
        )
    found_site = load_site(site, opened.job.profile)
    check_run(opened, found_site, "slurm", force=force)
    job = slurm_scheduler(found_site).requeue(opened, task)
    click.echo(f"{opened.label}: task {task} starts anew as job {job}")
    return 0


def _check_task(run: Run, task: int) -> None:
    if task not in run.current_tasks:
        known = f"0 to {len(run.tasks) - 1}" if len(run.current_tasks) == len(run.tasks) else "one of the current tasks"
        raise InputError(f"{run.label}: task {task}: expected {known}. `segbatch status` shows them.")

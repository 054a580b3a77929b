"""Commands that start and stop runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from segbatch.cli.options import (
    job_argument,
    load_site,
    named_run,
    parallel_option,
    plan_job,
    run_argument,
    runs_option,
    set_option,
    site_option,
    wait_option,
)

if TYPE_CHECKING:
    from segbatch.runs.plan import Plan
    from segbatch.runs.run import Run
    from segbatch.spec.site import Site


@click.command()
@job_argument
@set_option
@site_option
@runs_option
@click.option("--backend", type=click.Choice(["local"]), default="local", show_default=True, help="Where tasks run.")
@parallel_option
@wait_option
@click.option("--dry-run", is_flag=True, help="Say what would be done, and write nothing.")
def submit(
    job: Path,
    sets: tuple[str, ...],
    site: Path | None,
    runs_root: Path | None,
    backend: str,
    parallel: int | None,
    wait: bool,
    dry_run: bool,
) -> int:
    """Start a run of JOB.

    The run goes on when the terminal closes, unless --wait was given.

    \b
    segbatch submit jobs/demo-train.yaml --wait
    segbatch submit jobs/demo-predict.yaml --set predict.tasks=4 --parallel 2
    """
    from segbatch.runs.plan import create_run

    planned, found_site = plan_job(job, sets, site, runs_root)
    if dry_run:
        _print_plan(planned)
        return 0
    if planned.left_out:
        click.echo(f"left out: {planned.left_out}; `segbatch check` shows them", err=True)
    run = create_run(planned)
    click.echo(f"run {run.label}")
    click.echo(f"folder {run.paths.folder}")
    return _start(run, _at_once(run, parallel, found_site), wait)


@click.command()
@run_argument
@runs_option
@site_option
@parallel_option
@wait_option
@click.option("--force", is_flag=True, help="Go on although a process on another machine may still be at it.")
def resume(run: str, runs_root: Path | None, site: Path | None, parallel: int | None, wait: bool, force: bool) -> int:
    """Go on with RUN: what is missing, damaged or was rejected is done again, and nothing else.

    RUN is a run's folder, its id, or a job's name for its newest run.

    \b
    segbatch resume demo-predict --wait
    """
    from segbatch.runs.outputs import unfinished
    from segbatch.runs.status import run_status

    opened = named_run(run, runs_root, site)
    state = run_status(opened)
    if state.state == "done" and not unfinished(opened):
        click.echo(f"{opened.label} is done already; nothing to resume")
        return state.code or 0
    return _start(opened, _at_once(opened, parallel, load_site(site, opened.job.profile)), wait, force)


@click.command()
@run_argument
@runs_option
@site_option
def cancel(run: str, runs_root: Path | None, site: Path | None) -> int:
    """Stop RUN: its tasks finish the batch in hand and journal it, so that `resume` can go on.

    \b
    segbatch cancel demo-predict
    """
    from segbatch.cluster.local import LocalScheduler

    opened = named_run(run, runs_root, site)
    if not LocalScheduler().cancel(opened):
        click.echo(f"{opened.label} is not running")
        return 0
    click.echo(f"{opened.label}: asked to stop; its tasks finish the batch in hand")
    click.echo(f"continue later with: segbatch resume {opened.paths.folder}")
    return 0


@click.command()
@job_argument
@set_option
@site_option
@runs_option
@click.option("--script", is_flag=True, help="Print the batch scripts that a SLURM cluster would get.")
def plan(job: Path, sets: tuple[str, ...], site: Path | None, runs_root: Path | None, script: bool) -> int:
    """Show what submitting JOB would do: tiles, tasks, resources, paths. Nothing is written.

    \b
    segbatch plan jobs/demo-predict.yaml
    segbatch plan jobs/demo-predict.yaml --script
    """
    planned, found_site = plan_job(job, sets, site, runs_root)
    if script:
        from segbatch.cluster.render import render_scripts

        for text in render_scripts(planned, found_site).values():
            click.echo(text)
    else:
        _print_plan(planned)
    return 0


def _at_once(run: Run, parallel: int | None, site: Site) -> int:
    """Tasks at once: as asked, as the site says, or as many as have processors of their own; on GPUs one by one."""
    resources = run.job.resources
    room = 1 if resources.gpus else (os.cpu_count() or 1) // resources.cpus
    return parallel or site.parallel or max(room, 1)


def _start(run: Run, parallel: int, wait: bool, force: bool = False) -> int:
    from segbatch.cluster.local import LocalRunner, LocalScheduler

    if not wait:
        LocalScheduler(parallel, force).submit(run)
        click.echo(f"watch it with: segbatch status {run.paths.folder} --watch")
        return 0
    from segbatch.cli.display import live_progress, print_outcome
    from segbatch.cli.report import print_scores

    with live_progress(run) as tick:
        LocalRunner(run, parallel, on_tick=tick, force=force).execute()
    code = print_outcome(run)
    print_scores(run)
    return code


def _print_plan(planned: Plan) -> None:
    from rich.console import Console
    from rich.table import Table

    resources = planned.job.resources
    table = Table(box=None, show_header=False, pad_edge=False)
    rows = [
        ("job", f"{planned.job.name} ({planned.job.kind}), from {planned.job_file}"),
        ("tiles", f"{len(planned.tiles)} in {planned.images_root or planned.masks_root}"),
        ("masks", planned.masks_root or "none: no scores, class shares only"),
        *([("left out", planned.left_out)] if planned.left_out else []),
        ("tasks", f"{planned.tasks} of {planned.shard_size} tiles"),
        ("each", f"{resources.cpus} cpus, {resources.memory} MB, {resources.gpus} gpus, {resources.time} min"),
        ("runs", f"{planned.runs_root / planned.job.name}/<run id>"),
    ]
    if planned.split is not None:
        rows.insert(2, ("parts", ", ".join(f"{part} {size}" for part, size in planned.part_sizes().items())))
    if planned.bundle is not None:
        rows.insert(2, ("model", str(planned.bundle)))
    for key, value in rows:
        table.add_row(key, value)
    Console(soft_wrap=True).print(table)

"""The command that shows what a submission would do."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from segbatch.cli.options import job_argument, plan_job, runs_option, set_option, site_option
from segbatch.cli.start import backend_option

if TYPE_CHECKING:
    from segbatch.cluster.backend import Backend
    from segbatch.cluster.render import Order
    from segbatch.runs.plan import Plan
    from segbatch.spec.site import Site

PREVIEW_RUN = "RUN"
PREVIEW_TOKEN = "TOKEN"


@click.command()
@job_argument
@set_option
@site_option
@runs_option
@backend_option
@click.option("--script", is_flag=True, help="Print the batch scripts that SLURM would get.")
@click.option("--test-only", is_flag=True, help="Ask SLURM whether it would take the tasks, and when they would start.")
def plan(
    job: Path,
    sets: tuple[str, ...],
    site: Path | None,
    runs_root: Path | None,
    backend: str | None,
    script: bool,
    test_only: bool,
) -> int:
    """Show what submitting JOB would do: tasks, resources, dependencies, paths. Nothing is written or submitted.

    \b
    segbatch plan jobs/demo-predict.yaml
    segbatch plan jobs/demo-predict.yaml --script
    segbatch plan jobs/demo-predict.yaml --backend slurm --test-only
    """
    from segbatch.cli.pipeline import is_pipeline_file, plan_pipeline
    from segbatch.cluster.backend import choose_backend

    if is_pipeline_file(job):
        if script or test_only:
            raise click.UsageError("scripts of a pipeline are written stage by stage; name the job file of a stage")
        return plan_pipeline(job, sets, site, runs_root, backend)
    planned, found_site = plan_job(job, sets, site, runs_root)
    chosen = choose_backend("slurm" if test_only else backend, found_site)
    if script:
        for _, text in _scripts(planned, found_site):
            click.echo(text)
    else:
        print_plan(planned, found_site, chosen)
    return _test(planned, found_site) if test_only else 0


def print_plan(planned: Plan, site: Site, backend: Backend) -> None:
    """Print a plan as a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    for key, value in _rows(planned, site, backend):
        table.add_row(key, value)
    Console(soft_wrap=True, markup=False, highlight=False).print(table)


def _rows(planned: Plan, site: Site, backend: Backend) -> Iterator[tuple[str, str]]:
    resources = planned.job.resources
    folder = planned.runs_root / planned.job.name / "<run id>"
    yield "job", f"{planned.job.name} ({planned.job.kind}), from {planned.job_file}"
    yield "tiles", f"{len(planned.tiles)} in {planned.images_root or planned.masks_root}"
    if planned.split is not None:
        yield "parts", ", ".join(f"{part} {size}" for part, size in planned.part_sizes().items())
    if planned.bundle is not None:
        name = f"{planned.registered.info.name}, " if planned.registered else ""
        yield "model", f"{name}{planned.bundle}"
    yield "truth", planned.masks_root or "none: no scores, class shares only"
    if planned.labelled_root:
        yield "labelled", f"where {planned.labelled_root} is not 0"
    if planned.left_out:
        yield "left out", planned.left_out
    if planned.needs_pilot:
        yield "tasks", "by the model's speed, which a pilot measures first"
    else:
        yield "tasks", f"{planned.tasks} of {planned.shard_size} tiles"
    yield (
        "each",
        (
            f"{resources.nodes} nodes, {resources.cpus} cpus, {resources.memory} MB, {resources.gpus} gpus, "
            f"{resources.time} min"
        ),
    )
    if backend == "slurm":
        yield from _slurm_rows(planned, site)
    else:
        yield "where", "this machine"
    yield from _container_rows(planned, site, folder)
    yield "run", str(folder)
    yield "logs", str(folder / "logs")
    yield from _products(planned, folder).items()


def _container_rows(planned: Plan, site: Site, folder: Path) -> Iterator[tuple[str, str]]:
    from segbatch.cluster.containers.inside import inside_of_plan, rows

    inside = inside_of_plan(planned, site)
    if inside is not None:
        yield from rows(inside, folder)


def _products(planned: Plan, folder: Path) -> dict[str, str]:
    if planned.job.kind == "train":
        return {"bundle": str(folder / "model"), "curves": str(folder / "training")}
    masks = {"masks": str(folder / "masks")} if planned.job.kind == "predict" else {}
    return masks | {"report": str(folder / "report" / "index.html")}


def _slurm_rows(planned: Plan, site: Site) -> Iterator[tuple[str, str]]:
    from segbatch.cluster.backend import slurm_scheduler

    limits = slurm_scheduler(site).limits()
    orders = [order for order in _orders(planned, limits.max_array_size) if not order.finish]
    arrays = "; ".join(
        f"{order.indexes}{f'%{order.at_once}' if order.at_once else ''}"
        + (f" (tasks from {order.offset} on)" if order.offset else "")
        for order in orders
    )
    yield "where", f"SLURM: {len(orders)} job array{'s' if len(orders) > 1 else ''} {arrays}"
    yield "then", f"one job that merges and reports, after all of them (afterany), {_finish_place(site)}"
    retries = planned.job.retries
    yield "retries", f"{retries.interruptions} after time limits and preemptions, {retries.failures} after failures"


def _finish_place(site: Site) -> str:
    partition = site.finish_partition or site.partition
    return f"in partition {partition}" if partition else "in the default partition"


def _orders(planned: Plan, most: int) -> list[Order]:
    from segbatch.cluster.render import Order, tasks_at_once
    from segbatch.cluster.slurm.chunks import cut
    from segbatch.runs.indexes import compact_indexes

    folder = planned.runs_root / planned.job.name / PREVIEW_RUN
    chunks = cut(range(planned.tasks), most, tasks_at_once(planned.job))
    tasks = [
        Order(
            folder,
            1,
            PREVIEW_TOKEN,
            offset=chunk.offset,
            indexes=compact_indexes(chunk.indexes),
            at_once=chunk.at_once,
            after="" if chunk.after is None else f"afterany:ARRAY{chunk.after + 1}",
        )
        for chunk in chunks
    ]
    after = ":".join(f"ARRAY{number + 1}" for number in range(len(tasks)))
    return [*tasks, Order(folder, 1, PREVIEW_TOKEN, role="finish", after=f"afterany:{after}")]


def _scripts(planned: Plan, site: Site, most: int | None = None) -> Iterator[tuple[Order, str]]:
    from segbatch.cluster.containers.inside import inside_of_plan
    from segbatch.cluster.render import render_script

    inside = inside_of_plan(planned, site)
    limit = most or site.limits.max_array_size or max(planned.tasks, 1)
    for order in _orders(planned, limit):
        yield order, render_script(planned.job, site, order, inside)


def _test(planned: Plan, site: Site) -> int:
    """Ask sbatch about every script, without the dependencies, whose jobs do not exist yet."""
    from dataclasses import replace

    from segbatch.cluster.backend import slurm_scheduler
    from segbatch.cluster.containers.inside import inside_of_plan
    from segbatch.cluster.render import render_script

    scheduler = slurm_scheduler(site)
    scheduler.check(planned.tasks)
    inside = inside_of_plan(planned, site)
    with tempfile.TemporaryDirectory() as folder:
        for order in _orders(planned, scheduler.limits().max_array_size):
            path = Path(folder, "script.sbatch")
            path.write_text(render_script(planned.job, site, replace(order, after=""), inside), encoding="utf-8")
            said = scheduler.slurm.test_only(path.name, Path(folder))
            what = "finish" if order.finish else f"tasks {order.indexes}"
            click.echo(f"{what}: {said}")
    return 0

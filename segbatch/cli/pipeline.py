"""What the commands do with pipelines, which are several runs in one."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from segbatch.cli.options import load_site, registry_folder, registry_said, runs_folder
from segbatch.errors import Exit, InputError, SegbatchError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from segbatch.runs.pipeline_status import PipelineStatus
    from segbatch.runs.pipelines import Pipeline
    from segbatch.runs.run import Run
    from segbatch.spec.pipeline_load import LoadedPipeline
    from segbatch.spec.site import Site

TICK_S = 1.0
PLAIN_INTERVAL_S = 10.0


def is_pipeline_file(job: Path) -> bool:
    """Tell whether a file describes a pipeline."""
    from segbatch.spec.pipeline_load import is_pipeline

    return is_pipeline(job)


def named_pipeline(run: str, runs_root: Path | None, site_path: Path | None) -> Pipeline | None:
    """Open the pipeline's run that a user names; None if it is something else."""
    from segbatch.runs.pipelines import find_pipeline

    return find_pipeline(run, runs_folder(runs_root, load_site(site_path)))


def load(
    path: Path, sets: tuple[str, ...], site_path: Path | None, runs_root: Path | None
) -> tuple[LoadedPipeline, Path, Site]:
    """Read a pipeline's file; also the folder that its run will have, and the site."""
    from segbatch.runs.creation import new_id
    from segbatch.spec.pipeline_load import load_pipeline, pipeline_name

    site = load_site(site_path)
    name, run_id = pipeline_name(path, sets), new_id(datetime.now(UTC))
    loaded = load_pipeline(path, runs_folder(runs_root, site).resolve() / name / run_id, sets)
    site = load_site(site_path, loaded.job.profile)
    root = runs_folder(runs_root, site, loaded.job.output.runs).resolve()
    folder = root / name / run_id
    # Once more if the pipeline itself says where runs go, since stages name each other's folders.
    return load_pipeline(path, folder, sets), folder, site


def submit_pipeline(
    job: Path,
    sets: tuple[str, ...],
    site_path: Path | None,
    runs_root: Path | None,
    *,
    backend: str | None,
    parallel: int | None,
    wait: bool,
    behind: Path | None = None,
) -> tuple[Pipeline, int]:
    """Start a run of a pipeline.

    Args:
        job: its file.
        sets: overrides, each `stages.train.set.seed=3`.
        site_path: the site file; found by default.
        runs_root: folder of all runs.
        backend: where stages run, if that was asked for.
        parallel: tasks at once on this machine.
        wait: stay until it ends.
        behind: on SLURM, folder of a run whose end it waits for.

    Returns:
        The pipeline's run, and the exit code of a command that started it.
    """
    from segbatch.cluster.backend import choose_backend
    from segbatch.runs.pipelines import create_pipeline

    loaded, folder, site = load(job, sets, site_path, runs_root)
    chosen = choose_backend(backend, site)
    _refuse_early(loaded, folder, site)
    plain = site.model_dump(mode="json", exclude_defaults=True)
    registry = registry_folder(registry_said(), site, folder.parent.parent, loaded.job.output.registry)
    pipeline = create_pipeline(loaded, folder, plain, registry)
    click.echo(f"run     {pipeline.label}")
    click.echo(f"folder  {pipeline.paths.folder}")
    if behind is not None:
        pipeline.note("behind", why=str(behind))
    return pipeline, _start(pipeline, site, chosen, parallel=parallel, wait=wait)


def resume_pipeline(
    pipeline: Pipeline, site_path: Path | None, *, backend: str | None, parallel: int | None, wait: bool, force: bool
) -> int:
    """Go on with a pipeline at what failed or was not started."""
    from segbatch.cluster.backend import choose_backend
    from segbatch.cluster.pipelines import PipelineObserver
    from segbatch.runs.ledger import submissions

    site = _site(pipeline, site_path)
    before = submissions(pipeline.paths)
    chosen = choose_backend(backend or (str(before[-1].facts.get("backend")) if before else None), site)
    status = PipelineObserver(pipeline, site).look()
    if status.state == "done":
        click.echo(f"{pipeline.label} is done already; nothing to resume")
        return status.exit_code
    if status.state in ("running", "queued") and chosen == "local" and not force:
        raise SegbatchError(f"{pipeline.label} runs already. Watch it with: segbatch status {pipeline.paths.folder}")
    return _start(pipeline, site, chosen, parallel=parallel, wait=wait, again=True, force=force)


def cancel_pipeline(pipeline: Pipeline, site_path: Path | None, *, now: bool) -> int:
    """Stop a pipeline's stages, and what would start further ones."""
    from segbatch.cluster.pipelines import cancel

    found = cancel(pipeline, _site(pipeline, site_path), now=now)
    click.echo(f"{pipeline.label}: {'asked to stop' if found else 'nothing of it waits or runs'}")
    click.echo(f"go on later with: segbatch resume {pipeline.paths.folder}")
    return 0


def show_status(pipeline: Pipeline, site_path: Path | None, *, watch: bool, as_json: bool) -> int:
    """Print how far a pipeline is."""
    from segbatch.cli.status_view import terminal
    from segbatch.cluster.pipelines import PipelineObserver

    observer = PipelineObserver(pipeline, _site(pipeline, site_path))
    found = _watched(observer.look) if watch else observer.look()
    if as_json:
        click.echo(json.dumps(found.as_dict(), indent=2))
    else:
        terminal().print(pipeline_view(found))
    return found.exit_code if watch else 0


def stage_run(pipeline: Pipeline, name: str) -> Run:
    """Open the run of a stage.

    Raises:
        InputError: there is no such stage, or it has not begun.
    """
    from segbatch.spec.problems import did_you_mean

    names = [stage.name for stage in pipeline.record.stages]
    if name not in names:
        hint = did_you_mean(name, names) or f" Its stages: {', '.join(names)}."
        raise InputError(f"{pipeline.label} has no stage {name!r}.{hint}")
    found = pipeline.stage(name)
    if found is None:
        raise InputError(f"{pipeline.label}: its stage {name} has not begun.")
    return found


def print_logs(pipeline: Pipeline) -> int:
    """Print the logs of what starts a pipeline's stages, and say where those of the stages are."""
    for path in sorted(pipeline.paths.logs.iterdir(), key=lambda path: path.stat().st_mtime):
        click.echo(f"==> {path} <==")
        click.echo(path.read_text(errors="replace"), nl=False)
    for stage in pipeline.record.stages:
        if pipeline.stage(stage.name) is not None:
            click.echo(f"stage {stage.name}: segbatch logs {pipeline.paths.folder} {stage.name}")
    return 0


def plan_pipeline(
    job: Path, sets: tuple[str, ...], site_path: Path | None, runs_root: Path | None, backend: str | None
) -> int:
    """Show what submitting a pipeline would do."""
    from segbatch.cluster.backend import choose_backend

    loaded, folder, site = load(job, sets, site_path, runs_root)
    print_plan(loaded, folder, site, choose_backend(backend, site))
    return 0


def print_plan(loaded: LoadedPipeline, folder: Path, site: Site, backend: str) -> None:
    """Print the stages with what is known of them now."""
    from segbatch.cli.status_view import terminal

    click.echo(f"pipeline {loaded.job.name}, from {loaded.path}")
    click.echo(f"where    {'SLURM' if backend == 'slurm' else 'this machine'}")
    click.echo(f"run      {folder.parent / '<run id>'}")
    terminal().print(_planned(loaded, folder, site))


def _planned(loaded: LoadedPipeline, folder: Path, site: Site) -> RenderableType:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("stage", "kind", "needs", "tiles", "tasks", "each"):
        table.add_column(column)
    for stage in loaded.stages:
        resources = stage.job.resources
        tiles, tasks = _amount(loaded, stage.name, folder, site)
        each = f"{resources.cpus} cpus, {resources.memory} MB, {resources.gpus} gpus, {resources.time} min"
        table.add_row(stage.name, stage.job.kind, ", ".join(stage.needs) or "-", tiles, tasks, each)
    return table


def _amount(loaded: LoadedPipeline, name: str, folder: Path, site: Site) -> tuple[str, str]:
    """Tiles and tasks of a stage, as far as they are known before the stages that it needs have run."""
    from segbatch.errors import InputError, NothingToDo
    from segbatch.runs.plan import make_plan

    stage = next(stage for stage in loaded.stages if stage.name == name)
    try:
        plan = make_plan(stage.job, loaded.path, runs_root=folder.parent.parent)
    except NothingToDo:
        return "nothing to do", "-"
    except InputError:
        if not stage.needs:
            raise
        return "known later", "-"
    return str(len(plan.tiles)), str(plan.tasks)


def _refuse_early(loaded: LoadedPipeline, folder: Path, site: Site) -> None:
    """Refuse what stages that need nothing would be refused for, before anything is written."""
    for stage in loaded.stages:
        if not stage.needs:
            _amount(loaded, stage.name, folder, site)


def _site(pipeline: Pipeline, site_path: Path | None) -> Site:
    from segbatch.cluster.pipelines import site_of

    return site_of(pipeline) if site_path is None else load_site(site_path)


def _start(
    pipeline: Pipeline,
    site: Site,
    backend: str,
    *,
    parallel: int | None,
    wait: bool,
    again: bool = False,
    force: bool = False,
) -> int:
    from segbatch.cluster.pipelines import start_here

    if backend == "slurm":
        return _start_on_slurm(pipeline, site, wait=wait, again=again, force=force)
    if again:
        pipeline.note("reopened")
    if wait:
        return _run_here(pipeline, site, parallel, force)
    start_here(pipeline, parallel)
    click.echo(f"watch it with: segbatch status {pipeline.paths.folder} --watch")
    return 0


def _run_here(pipeline: Pipeline, site: Site, parallel: int | None, force: bool) -> int:
    from segbatch.cli.display import live_progress
    from segbatch.cluster.local import LocalRunner, at_once
    from segbatch.cluster.pipelines import LocalDriver, PipelineObserver

    def execute(run: Run) -> int:
        with live_progress(run) as tick:
            return LocalRunner(run, at_once(run, parallel, site), on_tick=tick, force=force, site=site).execute()

    code = LocalDriver(pipeline, site, execute, click.echo, force).execute()
    _print_outcome(PipelineObserver(pipeline, site).look())
    return code


def _start_on_slurm(pipeline: Pipeline, site: Site, *, wait: bool, again: bool, force: bool) -> int:
    from segbatch.cluster.backend import slurm_scheduler
    from segbatch.cluster.pipelines import PipelineObserver, SlurmDriver

    scheduler = slurm_scheduler(site, force=force)
    status = SlurmDriver(pipeline, site, scheduler, click.echo).advance(again=again)
    if not wait or status.over:
        _print_outcome(status)
        return status.exit_code if status.over else 0
    found = _watched(PipelineObserver(pipeline, site, scheduler.view).look)
    _print_outcome(found)
    return found.exit_code


def _watched(look: Callable[[], PipelineStatus]) -> PipelineStatus:
    """Look until it is over, with a line whenever something has changed."""
    shown, at = "", 0.0
    while not (status := look()).over:
        line = headline(status)
        if line != shown and time.monotonic() - at >= PLAIN_INTERVAL_S:
            click.echo(line, err=True)
            shown, at = line, time.monotonic()
        time.sleep(TICK_S)
    return status


def headline(status: PipelineStatus) -> str:
    """One line that says how far a pipeline is."""
    stages = ", ".join(f"{stage.name} {stage.state}" for stage in status.stages)
    return f"{status.pipeline.label}: {status.state}  {stages}"


def _print_outcome(status: PipelineStatus) -> None:
    from segbatch.cli.status_view import terminal

    if status.idle:
        click.echo(f"{status.pipeline.label}: nothing to do")
    terminal().print(pipeline_view(status))


def pipeline_view(status: PipelineStatus) -> RenderableType:
    """Draw a pipeline: a line a stage."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from segbatch.cli.status_view import COLORS, figures, groups
    from segbatch.runs.gate_words import decisions

    colors = COLORS | {
        "waiting": "bright_black",
        "skipped": "bright_black",
        "unneeded": "bright_black",
        "refused": "red",
    }
    label = status.pipeline.label
    parts: list[RenderableType] = [Text.assemble((label, "bold"), "  ", (status.words, colors[status.state]))]
    table = Table(box=None, pad_edge=False)
    for column in ("stage", "kind", "state", "says"):
        table.add_column(column, overflow="fold" if column == "says" else "ellipsis")
    decided = {stage.name: words for stage, words, _ in decisions(status)}
    for stage in status.stages:
        says = stage.why or decided.get(stage.name) or (figures(stage.run) if stage.run else "")
        table.add_row(stage.name, stage.kind, Text(stage.state, colors[stage.state]), Text(says))
    parts.append(table)
    for stage in status.stages:
        if stage.run is not None:
            for group in groups(stage.run):
                parts.append(Text(f"{stage.name}: {group.title()}", "red"))
                parts += [Text(f"    {line}", "dim") for line in group.lines()]
            parts += [Text(f"note    {stage.name}: {note}", "yellow") for note in stage.run.notes]
    parts.append(Text(f"folder  {status.pipeline.paths.folder}", "dim"))
    if status.hint:
        parts.append(Text(status.hint, "yellow"))
    return Group(*parts)


def check_pipeline(job: Path, sets: tuple[str, ...], site_path: Path | None, runs_root: Path | None = None) -> int:
    """Check a pipeline's file and the jobs of its stages; data is looked at when a stage's turn has come."""
    loaded, folder, site = load(job, sets, site_path, runs_root)
    click.echo(f"{click.format_filename(str(job))}: a valid pipeline of {len(loaded.stages)} stages")
    _refuse_early(loaded, folder, site)
    return Exit.OK

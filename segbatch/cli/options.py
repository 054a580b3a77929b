"""Options that several commands share, and what they mean."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from segbatch.cli.bar import counting
from segbatch.errors import InputError

if TYPE_CHECKING:
    from segbatch.runs.plan import Plan
    from segbatch.runs.run import Run
    from segbatch.spec.job import Job, TrainJob
    from segbatch.spec.site import Site

F = TypeVar("F", bound=Callable[..., Any])

job_argument = click.argument("job", type=click.Path(path_type=Path))
run_argument = click.argument("run")
set_option = click.option(
    "--set", "sets", multiple=True, metavar="KEY=VALUE", help="Override a key of the job, such as train.epochs=3."
)
site_option = click.option(
    "--site",
    type=click.Path(path_type=Path),
    help="Site file. Default: $SEGBATCH_SITE, ./site.yaml, ~/.config/segbatch/site.yaml.",
)
runs_option = click.option(
    "--runs",
    "runs_root",
    type=click.Path(path_type=Path),
    envvar="SEGBATCH_RUNS",
    help="Folder that holds all runs. Default: the job's output.runs, the site's, or ./runs.",
)
REGISTRY_VARIABLE = "SEGBATCH_REGISTRY"
registry_option = click.option(
    "--registry",
    "registry_root",
    type=click.Path(path_type=Path),
    envvar=REGISTRY_VARIABLE,
    help="Folder of the registered models. Default: the site's, or `registry` beside the runs.",
)
parallel_option = click.option(
    "--parallel",
    type=click.IntRange(1),
    help="Tasks at once on this machine. Default: the site's, or as many as have processors of their own.",
)
wait_option = click.option(
    "--wait", is_flag=True, help="Stay, show progress, and exit with the run's code. Ctrl-C stops it; resume continues."
)


def load_site(site: Path | None, profile: str | None = None) -> Site:
    """Find and read the site file; without one, a site of defaults."""
    from segbatch.spec.site import find_site
    from segbatch.spec.site import load_site as read

    path = find_site(site, os.environ, Path.cwd(), Path.home())
    return read(path, profile)


def runs_folder(explicit: Path | None, site: Site, job_says: str | None = None) -> Path:
    """Folder of all runs: the option, what the job says, what the site says, or ./runs."""
    return explicit or Path(job_says or site.runs or "runs").absolute()


def registry_said() -> Path | None:
    """Folder of the registered models as the environment names it, for commands that have no such option."""
    said = os.environ.get(REGISTRY_VARIABLE)
    return Path(said) if said else None


def registry_folder(explicit: Path | None, site: Site, runs_root: Path | None, job_says: str | None = None) -> Path:
    """Folder of the registered models: the option, what the job says, what the site says, or beside the runs."""
    from segbatch.runs.model_folder import registry_root

    return registry_root(explicit, job_says, site.registry, runs_folder(runs_root, site))


def plan_job(job: Path, sets: tuple[str, ...], site_path: Path | None, runs_root: Path | None) -> tuple[Plan, Site]:
    """Read a job file and work out what submitting it would do."""
    from segbatch.spec.load import load_job

    return _plan(load_job(job, sets).job, job, site_path, runs_root)


def plan_training(job: Path, sets: tuple[str, ...], site_path: Path | None) -> tuple[Plan, TrainJob]:
    """Read a train job's file and work out what submitting it would do."""
    from segbatch.spec.job import TrainJob
    from segbatch.spec.load import load_job

    loaded = load_job(job, sets).job
    if not isinstance(loaded, TrainJob):
        raise InputError(f"{click.format_filename(job)}: expected kind: train, received kind: {loaded.kind}.")
    return _plan(loaded, job, site_path, None)[0], loaded


def _plan(loaded: Job, job: Path, site_path: Path | None, runs_root: Path | None) -> tuple[Plan, Site]:
    from segbatch.runs.measured import read_measured
    from segbatch.runs.plan import make_plan

    site = load_site(site_path, loaded.profile)
    root = runs_folder(runs_root, site, loaded.output.runs)
    plain = site.model_dump(mode="json", exclude_defaults=True)
    registry = registry_said()
    measured = read_measured(bench_file(site_path)) if loaded.kind == "predict" else ()
    with counting("listing files:") as tick:
        made = make_plan(
            loaded, job.absolute(), runs_root=root, site=plain, registry=registry, measured=measured, tick=tick
        )
    return made, site


def bench_file(site_path: Path | None) -> Path:
    """Where measurements are kept: beside the site file, or where the user's would lie."""
    from segbatch.spec.site import find_site

    found = find_site(site_path, os.environ, Path.cwd(), Path.home())
    return (found or Path.home() / ".config" / "segbatch" / "site.yaml").with_name("bench.json")


def named_run(run: str, runs_root: Path | None, site_path: Path | None = None) -> Run:
    """Open the run that a user names.

    Raises:
        InputError: there is none, or it is a pipeline's, which is several.
    """
    from segbatch.runs.pipelines import find_pipeline
    from segbatch.runs.run import find_run

    root = runs_folder(runs_root, load_site(site_path))
    pipeline = find_pipeline(run, root)
    if pipeline is not None:
        begun = [found for stage in pipeline.record.stages if (found := pipeline.stage(stage.name)) is not None]
        folders = "".join(f"\n  {found.paths.folder}" for found in begun) or " None of its stages has begun."
        raise InputError(f"{pipeline.label} is a pipeline's run; here the run of one of its stages is needed:{folders}")
    return find_run(run, root)

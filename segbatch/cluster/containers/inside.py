"""What the tasks of a run see when they run in a container."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from segbatch.cluster.containers.launch import PREFIXES, Launch, Owner, Request, Runtime
from segbatch.cluster.containers.links import linked_mounts
from segbatch.cluster.containers.mounts import Mount, chosen_binds, reduced, same_path
from segbatch.cluster.containers.runtimes import runtime_of
from segbatch.errors import InputError
from segbatch.runs.plan import Plan
from segbatch.runs.run import Run, open_run
from segbatch.runs.tiles import Tile, read_tiles
from segbatch.spec.gate_job import GateJob
from segbatch.spec.job import Job, TrainJob
from segbatch.spec.resources import Container
from segbatch.spec.site import Site

NAMES = (
    "CUDA_VISIBLE_DEVICES",
    "SLURM_JOB_ID",
    "SLURM_ARRAY_JOB_ID",
    "SLURM_ARRAY_TASK_ID",
    "SLURM_RESTART_COUNT",
    "SLURM_PROCID",
)
"""Environment variables that tasks go by or note in their attempts."""
KERAS_HOME = "KERAS_HOME"


@dataclass(frozen=True)
class Inside:
    """A container, and all that it shows of the host but for the run's own folder."""

    container: Container
    said_by: str
    """Where the container was asked for: the job or the site file."""
    job: Job
    automatic: tuple[Mount, ...]
    """What tasks read."""
    names: tuple[str, ...]
    """Environment variables to pass on where they are set."""
    values: Mapping[str, str]
    """Environment variables of the container's own."""

    @property
    def runtime(self) -> Runtime:
        """What starts the image."""
        return runtime_of(self.container)

    def request(self, folder: Path, *, finish: bool = False, owner: Owner | None = None) -> Request:
        """Say what one task needs.

        Args:
            folder: the run's.
            finish: the task that merges and reports, which has no GPU and no scratch folder.
            owner: whom its files shall belong to; by default the user of this process.

        Raises:
            InputError: two mounts contradict each other.
        """
        resources = self.job.resources
        run = same_path(str(folder), "run folder", writable=True)
        return Request(
            image=self.container.image or "",
            folder=folder,
            owner=owner or this_user(),
            mounts=reduced([run, *self.automatic], chosen_binds(self.container, self.said_by)),
            names=self.names,
            values=self.values,
            gpus=0 if finish else resources.gpus,
            nodes=1 if finish else resources.nodes,
            scratch=resources.scratch and not finish,
        )

    def launch(self, folder: Path, *, finish: bool = False) -> Launch:
        """Say how to start a task.

        Raises:
            InputError: something cannot be said to this runtime.
        """
        return self.runtime.launch(self.request(folder, finish=finish))

    def prepare(self, folder: Path) -> None:
        """Write what the runtime reads from the run's folder, for all its tasks."""
        for finish in (False, True):
            self.runtime.prepare(self.request(folder, finish=finish))


def this_user() -> Owner:
    """Return the user of this process, who is the same on nodes."""
    group = os.getgid()
    return Owner(os.getuid(), group, tuple(number for number in os.getgroups() if number != group))


def chosen_container(job: Job, site: Site) -> tuple[Container, str] | None:
    """Return the container of a job and who said it: the job's, or the site's where the job says nothing."""
    if "runtime" in job.container.model_fields_set:
        container, said_by = job.container, "the job"
    elif site.container is not None:
        container, said_by = site.container, "the site file"
    else:
        return None
    return None if container.runtime == "none" else (container, said_by)


def inside_of_plan(plan: Plan, site: Site, environ: Mapping[str, str] = os.environ) -> Inside | None:
    """Work out what the tasks of a plan will see; None outside containers.

    Raises:
        InputError: links lead to too many places.
    """
    roots = {
        "data.images": plan.images_root,
        "data.masks": plan.masks_root,
        "data.labelled": plan.labelled_root,
        "data.predictions": plan.predictions_root,
    }
    bundles = {"model": str(plan.bundle or ""), "train.start_from": str(plan.start or "")}
    return _inside(plan.job, site, roots, bundles, lambda: plan.tiles, environ)


def inside_of_run(run: Run, site: Site, environ: Mapping[str, str] = os.environ) -> Inside | None:
    """Work out what the tasks of a run see; None outside containers.

    Raises:
        InputError: links lead to too many places.
    """
    record = run.record
    roots = {
        "data.images": record.images_root,
        "data.masks": record.masks_root,
        "data.labelled": record.labelled_root,
        "data.predictions": record.predictions_root,
    }
    bundles = {"model": record.bundle, "train.start_from": record.start_bundle}
    return _inside(run.job, site, roots, bundles, lambda: read_tiles(run.paths.tiles), environ)


def _inside(
    job: Job,
    site: Site,
    roots: Mapping[str, str],
    bundles: Mapping[str, str],
    tiles: Callable[[], Iterable[Tile]],
    environ: Mapping[str, str],
) -> Inside | None:
    chosen = chosen_container(job, site)
    if chosen is None:
        return None
    container, said_by = chosen
    mounts = [same_path(root, origin) for origin, root in roots.items() if root]
    mounts += [same_path(bundle, origin) for origin, bundle in bundles.items() if bundle]
    if isinstance(job, GateJob):
        mounts += _compared(job)
    values = {}
    weights = job.model.weights if isinstance(job, TrainJob) else None
    if weights == "imagenet":
        values[KERAS_HOME] = _weights_cache(environ)
        mounts.append(same_path(values[KERAS_HOME], "weights of model.encoder"))
    elif weights:
        mounts.append(same_path(weights, "model.weights"))
    known = [*mounts, *chosen_binds(container, said_by)]
    for origin, root in roots.items():
        if root:
            mounts += linked_mounts(root, _names(tiles(), origin), origin, known)
    names = dict.fromkeys([*NAMES, *site.environment, *container.env])
    return Inside(container, said_by, job, tuple(mounts), tuple(name for name in names if name not in values), values)


def _compared(job: GateJob) -> Iterator[Mount]:
    """Yield what a gate looks at: both runs with their data, the new model's training, and the registry."""
    if job.output.registry is not None:
        yield same_path(job.output.registry, "output.registry", writable=True)
    challenger = open_run(Path(job.challenger))
    # The page of the decision is part of its report.
    yield same_path(job.challenger, "challenger", writable=True)
    yield same_path(str(Path(challenger.record.bundle).parent), "the challenger's training")
    for root in (challenger.record.images_root, challenger.record.masks_root):
        yield same_path(root, "the challenger's data")
    if job.champion is not None and Path(job.champion).is_dir():
        yield same_path(job.champion, "champion")


def _names(tiles: Iterable[Tile], origin: str) -> Iterator[str]:
    for tile in tiles:
        by_origin = {"data.images": tile.image, "data.masks": tile.mask, "data.labelled": tile.labelled}
        name = by_origin.get(origin, tile.prediction)
        if name:
            yield name


def _weights_cache(environ: Mapping[str, str]) -> str:
    """Folder in which Keras keeps fetched weights; a container has no network to fetch them itself.

    Raises:
        InputError: it holds none.
    """
    home = environ.get(KERAS_HOME)
    folder = Path(home).expanduser() if home else Path.home() / ".keras"
    kept = folder / "models"
    if not (kept.is_dir() and any(kept.iterdir())):
        raise InputError(
            f"model.weights: imagenet: there are no weights in {kept}, and a container has no network to fetch them. "
            f"Fetch them once outside, or name the folder that holds `models` in {KERAS_HOME}."
        )
    return str(folder.absolute())


def rows(inside: Inside, folder: Path) -> Iterator[tuple[str, str]]:
    """Yield what people want to see of it: image, mounts with their origins, environment without values."""
    request = inside.request(folder)
    yield "container", f"{inside.container.runtime}, {request.image} (from {inside.said_by})"
    for number, mount in enumerate(request.mounts):
        missing = "" if mount.origin == "run folder" or os.access(mount.source, os.F_OK) else ", NOT FOUND HERE"
        yield "" if number else "mounts", f"{mount}{missing}"
    if request.scratch:
        yield "", "the node's scratch folder, read and write (resources.scratch)"
    listed = [*(f"{prefix}*" for prefix in PREFIXES), *request.names, *request.values]
    yield "environment", f"{', '.join(listed)}; nothing else is passed on"

"""What a submission would do, worked out without writing anything; and the run folder made from it."""

from __future__ import annotations

import hashlib
import json
import math
import platform
import secrets
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import segbatch
from segbatch.errors import InputError, NothingToDo
from segbatch.runs.bundles import bundle_digest
from segbatch.runs.champions import standing
from segbatch.runs.files import digest, file_digest, write_bytes, write_json, write_text
from segbatch.runs.layout import RunPaths
from segbatch.runs.listing import Listing, list_tiles
from segbatch.runs.model_folder import Registry, registry_root
from segbatch.runs.model_registry import Found, changed, resolve
from segbatch.runs.model_uses import note_use
from segbatch.runs.news import last_trained, new_tiles
from segbatch.runs.run import Run, RunRecord, open_run
from segbatch.runs.splits import Assignment, assign, hash_fraction, write_split
from segbatch.runs.tiles import Tile, write_tiles
from segbatch.spec.bundle import read_info
from segbatch.spec.data import Part
from segbatch.spec.gate_job import GateJob
from segbatch.spec.job import EvaluateJob, Job, PredictJob, TrainJob, to_plain
from segbatch.spec.labels import Labels
from segbatch.spec.model_name import CHAMPION, is_model_name, parse_model_name
from segbatch.spec.yaml_source import dump_yaml

EVALUATE_BATCH = 256


@dataclass(frozen=True)
class Plan:
    """One submission, before it happens."""

    job: Job
    job_file: Path
    labels: Labels
    tiles: Sequence[Tile]
    """Sorted."""
    split: Assignment | None
    """In train runs: every tile's group and part."""
    shard_size: int
    images_root: str
    masks_root: str
    predictions_root: str
    bundle: Path | None
    runs_root: Path
    site: dict[str, Any]
    left_out: str = ""
    """Files that have no partner and are no tiles, in words."""
    labelled_root: str = ""
    """Where the masks of labelled regions lie; empty without any."""
    registered: Found | None = None
    """The registered version that `bundle` is, where the job names one."""
    start: Path | None = None
    """Bundle whose weights training starts from."""
    started_from: Found | None = None
    """The registered version that `start` is, where the job names one."""
    news: Sequence[str] | None = None
    """Names of the tiles that are new since the last training; None where nobody asked."""

    @property
    def tasks(self) -> int:
        """Number of tasks."""
        return math.ceil(len(self.tiles) / self.shard_size)

    def part_sizes(self) -> dict[Part, int]:
        """Number of tiles in each part of the split; empty without one."""
        sizes: dict[Part, int] = defaultdict(int)
        for _, part in (self.split or {}).values():
            sizes[part] += 1
        return dict(sizes)


def make_plan(
    job: Job,
    job_file: Path,
    *,
    runs_root: Path,
    site: dict[str, Any] | None = None,
    registry: Path | None = None,
    earlier: Sequence[Path] | None = None,
) -> Plan:
    """Work out what submitting `job` would do.

    Args:
        job: what to do.
        job_file: where it was read from.
        runs_root: folder of all runs.
        site: the site's settings.
        registry: folder of the registered models; by default what the job or the site says, or `registry` beside the
            runs.
        earlier: folders of earlier runs of this job, newest first; by default those in the folder of its name.

    Raises:
        InputError: folders, tables or the bundle are missing or do not fit.
        NothingToDo: only what is new was asked for, and there is nothing new.
    """
    root = registry_root(registry, job.output.registry, (site or {}).get("registry"), runs_root)
    if isinstance(job, GateJob):
        return _gate_plan(job, job_file, runs_root, site or {}, root)
    registered = registered_model(job, root)
    bundle, labels = _model_of(job, registered)
    listing = list_tiles(job.data, need_masks=not isinstance(job, PredictJob))
    _no_duplicates(listing)
    tiles, split = _chosen(job, listing)
    start, started_from = _start_of(job, root)
    before = sorted_runs(runs_root / job.name) if earlier is None else earlier
    return Plan(
        job=job,
        job_file=job_file,
        labels=labels,
        tiles=tiles,
        split=split,
        shard_size=_shard_size(job, len(tiles)),
        images_root=listing.images_root if job.data.images is not None or job.data.pair.by == "csv" else "",
        masks_root=listing.masks_root if job.data.masks is not None else "",
        predictions_root=listing.predictions_root,
        bundle=bundle,
        runs_root=runs_root,
        site=site or {},
        left_out=_left_out(job, listing),
        labelled_root=listing.labelled_root,
        registered=registered,
        start=start,
        started_from=started_from,
        news=_news(job, split, before),
    )


def sorted_runs(folder: Path) -> list[Path]:
    """Return the runs in the folder of a job, newest first."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if not path.is_symlink() and (path / "run.json").is_file()]
    return sorted(found, key=lambda path: path.name, reverse=True)


def _news(job: Job, split: Assignment | None, earlier: Sequence[Path]) -> Sequence[str] | None:
    if not isinstance(job, TrainJob) or job.data.new_since is None or split is None:
        return None
    last = last_trained(earlier)
    news = new_tiles(split, last)
    if not news and last is not None:
        raise NothingToDo(f"no tile in {job.data.root} is new since {last.label}, so there is nothing to train.")
    return news


def _start_of(job: Job, registry: Path) -> tuple[Path | None, Found | None]:
    """Return the bundle that training starts from, and the registered version that it is."""
    if not isinstance(job, TrainJob) or job.train.start_from is None:
        return None, None
    name = parse_model_name(job.train.start_from) if is_model_name(job.train.start_from) else None
    if name is None:
        read_info(Path(job.train.start_from))
        return Path(job.train.start_from).resolve(), None
    if name.version == CHAMPION and not standing(Registry(registry).model(name.model)).champion:
        return None, None
    found = resolve(Registry(registry), str(name))
    return found.path, found


def _gate_plan(job: GateJob, job_file: Path, runs_root: Path, site: dict[str, Any], registry: Path) -> Plan:
    """Plan a run without tasks: what finishes it compares, and there is nothing else to do."""
    challenger = open_run(Path(job.challenger))
    if challenger.record.kind != "predict":
        raise InputError(
            f"challenger: {challenger.label} is of kind: {challenger.record.kind}. Expected a predict run on a holdout."
        )
    output = job.output.model_copy(update={"registry": str(registry)})
    return Plan(
        job=job.model_copy(update={"output": output}),
        job_file=job_file,
        labels=challenger.record.labels,
        tiles=(),
        split=None,
        shard_size=1,
        images_root="",
        masks_root="",
        predictions_root="",
        bundle=None,
        runs_root=runs_root,
        site=site,
    )


def registered_model(job: Job, registry: Path) -> Found | None:
    """Return the version that a predict job's `model` names; None where it names a path, and for other jobs.

    Raises:
        InputError: there is no such model or version.
    """
    if not isinstance(job, PredictJob) or not is_model_name(job.model.bundle):
        return None
    return resolve(Registry(registry), job.model.bundle)


def _left_out(job: Job, listing: Listing) -> str:
    images = len(listing.unpaired_images) if not isinstance(job, PredictJob) else 0
    found = {"images without a mask": images, "masks without an image": len(listing.unpaired_masks)}
    return ", ".join(f"{count} {what}" for what, count in found.items() if count)


def _model_of(job: TrainJob | PredictJob | EvaluateJob, registered: Found | None) -> tuple[Path | None, Labels]:
    if not isinstance(job, PredictJob):
        return None, job.labels
    path = registered.path if registered else Path(job.model.bundle)
    if path.is_dir() or not path.exists():
        info = read_info(path)
        if job.predict.fit == "window":
            info.refuse_windows(path)
        return path.resolve(), info.labels
    if job.labels is None:
        raise InputError(
            f"model: {path} is a Keras file, which does not say what its channels mean. "
            "Expected `labels` in the job (a built-in name or a labels file), or a bundle folder."
        )
    return path.resolve(), job.labels


def _no_duplicates(listing: Listing) -> None:
    if not listing.duplicates:
        return
    shown = "; ".join(f"{first} and {second}" for first, second in listing.duplicates[:5])
    more = f" (and {len(listing.duplicates) - 5} more)" if len(listing.duplicates) > 5 else ""
    raise InputError(
        f"data: {len(listing.duplicates)} pairs of files have one name and would share one mask: {shown}{more}. "
        "Move one of each aside, or name the files to use in a table (`data.pair: {by: csv, ...}`)."
    )


def _chosen(job: Job, listing: Listing) -> tuple[Sequence[Tile], Assignment | None]:
    """Pick the tiles that the job is about: its part of the split, and not more than its limit."""
    if isinstance(job, TrainJob):
        split = assign(listing, job.data.split) if job.data.split else _all_train(listing)
        split = _limited(split, job)
        if not any(part == "train" for _, part in split.values()):
            raise InputError("data.split: no tile falls into the part `train`, so there is nothing to train on.")
        used = [tile for tile in listing.tiles if tile.name in split and split[tile.name][1] != "test"]
        return used, split
    tiles = listing.tiles
    if job.data.part is not None and job.data.split is not None:
        parts = assign(listing, job.data.split)
        tiles = [tile for tile in tiles if tile.name in parts and parts[tile.name][1] == job.data.part]
        if not tiles:
            raise InputError(f"data.part: no tile falls into the part `{job.data.part}`.")
    if job.data.limit is not None:
        kept = set(_first_by_hash([tile.name for tile in tiles], job.data.limit))
        tiles = [tile for tile in tiles if tile.name in kept]
    return tiles, None


def _all_train(listing: Listing) -> Assignment:
    return {tile.name: (tile.name, "train") for tile in listing.tiles}


def _first_by_hash(names: Sequence[str], limit: int) -> list[str]:
    return sorted(names, key=lambda name: (hash_fraction(name, 0), name))[:limit]


def _limited(split: Assignment, job: TrainJob) -> Assignment:
    if job.data.limit is None:
        return split
    by_part: dict[str, list[str]] = defaultdict(list)
    for name, (_, part) in split.items():
        by_part[part].append(name)
    kept = {name for names in by_part.values() for name in _first_by_hash(names, job.data.limit)}
    return {name: place for name, place in split.items() if name in kept}


def _shard_size(job: TrainJob | PredictJob | EvaluateJob, tiles: int) -> int:
    """Tiles of a task: whole batches, so that a batch holds the same tiles however the work is cut up."""
    if isinstance(job, TrainJob):
        return tiles
    if isinstance(job, EvaluateJob):
        return max(tiles, 1)
    wanted = job.predict.shard_size or math.ceil(tiles / job.predict.tasks)
    batch = job.predict.batch_size
    return math.ceil(wanted / batch) * batch


@cache
def code_digest() -> str:
    """SHA-256 over the package's own Python files, so that a run says which code made it."""
    root = Path(segbatch.__file__).parent
    hasher = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        hasher.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return f"sha256:{hasher.hexdigest()}"


def create_run(plan: Plan, *, image: str = "", now: datetime | None = None, label: str = "") -> Run:
    """Write a run's folder from its plan; `run.json` comes last and makes it one.

    Args:
        plan: what to do.
        image: digest of the container image that its tasks run in; empty without one.
        now: the time; by default that of the clock.
        label: where the folder goes below that of all runs, for a stage of a pipeline; by default job name and a new
            id, and `latest` then means this run.
    """
    created = now or datetime.now(UTC)
    name, _, run_id = (label or f"{plan.job.name}/{new_id(created)}").partition("/")
    parent = plan.runs_root / name
    folder = parent / run_id
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"cannot make the run's folder {folder}: {error.strerror}.") from error
    paths = RunPaths(folder.resolve())
    paths.logs.mkdir()
    job_text = dump_yaml(to_plain(plan.job)).encode("utf-8", "surrogateescape")
    write_bytes(paths.job, job_text)
    shards = write_tiles(paths.tiles, plan.tiles, plan.shard_size, labelled=bool(plan.labelled_root))
    digests = {"job": digest(job_text), "code": code_digest(), "tiles": file_digest(paths.tiles)}
    if plan.split is not None:
        digests["split"] = write_split(paths.split, plan.split)
    if plan.bundle is not None:
        digests["bundle"] = _bundle_digest(plan.bundle, plan.registered)
    if plan.start is not None:
        digests["start"] = _bundle_digest(plan.start, plan.started_from)
    if image:
        digests["image"] = image
    if plan.news is not None:
        write_text(paths.news, "".join(f"{json.dumps(name)}\n" for name in plan.news))
    record = RunRecord(
        id=run_id,
        name=name,
        kind=plan.job.kind,
        created=created.isoformat(timespec="seconds"),
        job_file=str(plan.job_file),
        labels=plan.labels,
        tiles=len(plan.tiles),
        images_root=plan.images_root,
        masks_root=plan.masks_root,
        predictions_root=plan.predictions_root,
        labelled_root=plan.labelled_root,
        bundle=str(plan.bundle or ""),
        model=plan.registered.info.name if plan.registered else "",
        start_bundle=str(plan.start or ""),
        start_from=plan.started_from.info.name if plan.started_from else "",
        shards=tuple((shard.first, shard.count, shard.offset) for shard in shards),
        digests=digests,
        versions={"segbatch": segbatch.__version__, "python": platform.python_version()},
        site=plan.site,
    )
    if isinstance(plan.job, GateJob) and plan.job.output.registry is not None:
        Path(plan.job.output.registry).mkdir(parents=True, exist_ok=True)
    for task in range(len(shards)):
        paths.task(task).folder.mkdir(parents=True)
    for found in filter(None, (plan.registered, plan.started_from)):
        note_use(found.folder, found.info.version, paths.folder)
    write_json(paths.record, record.model_dump(mode="json", exclude_defaults=True) | {"schema_version": 1})
    if not label:
        point_latest(parent, run_id)
    return Run(paths, record)


def _bundle_digest(bundle: Path, registered: Found | None) -> str:
    found = bundle_digest(bundle)
    if registered is not None and found != registered.info.digest:
        raise changed(registered)
    return found


def new_id(created: datetime) -> str:
    """Return an id for a run: its time, and what tells it from another of the same second."""
    return f"{created:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def point_latest(parent: Path, run_id: str) -> None:
    """Move the link `latest` to the newest run in one step."""
    link = parent / f".latest-{secrets.token_hex(4)}"
    link.symlink_to(run_id)
    link.replace(parent / "latest")

"""What a submission would do, worked out without writing anything; and the run folder made from it."""

from __future__ import annotations

import hashlib
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
from segbatch.errors import InputError
from segbatch.runs.bundles import bundle_digest
from segbatch.runs.files import digest, file_digest, write_bytes, write_json
from segbatch.runs.layout import RunPaths
from segbatch.runs.listing import Listing, list_tiles
from segbatch.runs.run import Run, RunRecord
from segbatch.runs.splits import Assignment, assign, hash_fraction, write_split
from segbatch.runs.tiles import Tile, write_tiles
from segbatch.spec.bundle import read_info
from segbatch.spec.data import Part
from segbatch.spec.job import EvaluateJob, Job, PredictJob, TrainJob, to_plain
from segbatch.spec.labels import Labels
from segbatch.spec.mask_rules import rules_of
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


def make_plan(job: Job, job_file: Path, *, runs_root: Path, site: dict[str, Any] | None = None) -> Plan:
    """Work out what submitting `job` would do.

    Raises:
        InputError: folders, tables or the bundle are missing or do not fit, or there is nothing to do.
    """
    bundle, labels = _model_of(job)
    listing = list_tiles(job.data, need_masks=not isinstance(job, PredictJob))
    _no_duplicates(listing)
    tiles, split = _chosen(job, listing)
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
    )


def _left_out(job: Job, listing: Listing) -> str:
    images = len(listing.unpaired_images) if not isinstance(job, PredictJob) else 0
    found = {"images without a mask": images, "masks without an image": len(listing.unpaired_masks)}
    return ", ".join(f"{count} {what}" for what, count in found.items() if count)


def _model_of(job: Job) -> tuple[Path | None, Labels]:
    if not isinstance(job, PredictJob):
        return None, job.labels
    path = Path(job.model.bundle)
    if path.is_dir() or not path.exists():
        info = read_info(path)
        if job.predict.fit == "window":
            info.refuse_windows(path)
        rules_of(job.predict, info, path)
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


def _shard_size(job: Job, tiles: int) -> int:
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


def create_run(plan: Plan, *, image: str = "", now: datetime | None = None) -> Run:
    """Write a run's folder from its plan; `run.json` comes last and makes it one.

    Args:
        plan: what to do.
        image: digest of the container image that its tasks run in; empty without one.
        now: the time; by default that of the clock.
    """
    created = now or datetime.now(UTC)
    run_id = f"{created:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    parent = plan.runs_root / plan.job.name
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
        digests["bundle"] = bundle_digest(plan.bundle)
    if image:
        digests["image"] = image
    record = RunRecord(
        id=run_id,
        name=plan.job.name,
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
        shards=tuple((shard.first, shard.count, shard.offset) for shard in shards),
        digests=digests,
        versions={"segbatch": segbatch.__version__, "python": platform.python_version()},
        site=plan.site,
    )
    for task in range(len(shards)):
        paths.task(task).folder.mkdir(parents=True)
    write_json(paths.record, record.model_dump(mode="json", exclude_defaults=True) | {"schema_version": 1})
    _point_latest(parent, run_id)
    return Run(paths, record)


def _point_latest(parent: Path, run_id: str) -> None:
    """Move the link `latest` to the newest run in one step."""
    link = parent / f".latest-{secrets.token_hex(4)}"
    link.symlink_to(run_id)
    link.replace(parent / "latest")

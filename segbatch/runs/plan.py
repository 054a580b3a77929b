"""What a submission would do, worked out without writing anything; and the run folder made from it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from segbatch.errors import InputError, NothingToDo
from segbatch.runs.champions import standing
from segbatch.runs.listing import Listing, Tick, list_tiles, sorted_tiles
from segbatch.runs.measured import Measured, of_bundle
from segbatch.runs.model_folder import Registry, registry_root
from segbatch.runs.model_registry import Found, resolve
from segbatch.runs.news import last_trained, new_tiles
from segbatch.runs.pilot import tiles_of_a_task, unknown_speed, with_time
from segbatch.runs.run import open_run
from segbatch.runs.sorting import Row, Sorter, beside, mapped, ordered
from segbatch.runs.splits import Place, assigned, hash_key
from segbatch.runs.tiles import Tile
from segbatch.spec.bundle import read_info
from segbatch.spec.data import PARTS, Data, Part
from segbatch.spec.gate_job import GateJob
from segbatch.spec.job import EvaluateJob, Job, PredictJob, TrainJob
from segbatch.spec.labels import Labels
from segbatch.spec.mask_rules import rules_of
from segbatch.spec.model_name import CHAMPION, is_model_name, parse_model_name

EVALUATE_BATCH = 256
_PART: Mapping[str, Part] = {part: part for part in PARTS}


@dataclass(frozen=True)
class Plan:
    """One submission, before it happens."""

    job: Job
    job_file: Path
    labels: Labels
    tiles: Sequence[Tile]
    """Sorted."""
    split: Sequence[Place] | None
    """In train runs: every tile's group and part, those of the part `test` too; sorted by tile."""
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
    measured: tuple[Measured, ...] = ()
    """What was measured of the bundle."""
    pilot: bool = False
    """Whether its task is to measure the job's speed."""

    @property
    def tasks(self) -> int:
        """Number of tasks."""
        return math.ceil(len(self.tiles) / self.shard_size)

    @property
    def needs_pilot(self) -> bool:
        """Whether its tasks, one by now, depend on a speed that is to be measured first."""
        return unknown_speed(self.job, self.measured) and len(self.tiles) > 0

    def with_measured(self, measured: Sequence[Measured]) -> Plan:
        """Cut the work up by what was measured."""
        assert isinstance(self.job, PredictJob)
        return replace(
            self,
            job=with_time(self.job, measured, len(self.tiles)),
            shard_size=_shard_size(self.job, len(self.tiles), measured),
            measured=tuple(measured),
        )

    def part_sizes(self) -> dict[Part, int]:
        """Number of tiles in each part of the split; empty without one."""
        return dict(Counter(_PART[part] for _, _, part in self.split or ()))

    def tiles_in(self, part: Part) -> Iterator[Tile]:
        """Yield the tiles of one part of the split; without a split all of them."""
        if self.split is None:
            yield from self.tiles
            return
        for row, place in beside(((tile.name, *tile.fields) for tile in self.tiles), self.split):
            if place is not None and place[2] == part:
                yield Tile(*row[1:])


def make_plan(
    job: Job,
    job_file: Path,
    *,
    runs_root: Path,
    site: dict[str, Any] | None = None,
    registry: Path | None = None,
    earlier: Sequence[Path] | None = None,
    measured: Sequence[Measured] = (),
    tick: Tick = lambda files: None,
) -> Plan:
    """Work out what submitting `job` would do.

    Memory does not grow with the tiles of predict and evaluate jobs; what does not fit lies in temporary files.

    Args:
        job: the job.
        job_file: where it was read from.
        runs_root: folder that holds all runs.
        site: the site, as plain values.
        registry: folder of the registered models; by default what the job or the site says, or `registry` beside the
            runs.
        earlier: folders of earlier runs of this job, newest first; by default those in the folder of its name.
        measured: what was measured of any bundles here.
        tick: told now and then how many files were found.

    Raises:
        InputError: folders, tables or the bundle are missing or do not fit.
        NothingToDo: only what is new was asked for, and there is nothing new.
    """
    root = registry_root(registry, job.output.registry, (site or {}).get("registry"), runs_root)
    if isinstance(job, GateJob):
        return _gate_plan(job, job_file, runs_root, site or {}, root)
    registered = registered_model(job, root)
    bundle, labels = _model_of(job, registered)
    listing = list_tiles(job.data, need_masks=not isinstance(job, PredictJob), tick=tick)
    _no_duplicates(listing)
    tiles, split = _chosen(job, listing)
    start, started_from = _start_of(job, root)
    before = sorted_runs(runs_root / job.name) if earlier is None else earlier
    known = of_bundle(measured, bundle) if bundle is not None else ()
    news = _news(job, split, before)
    shard_size = _shard_size(job, len(tiles), known)
    job = with_time(job, known, len(tiles)) if isinstance(job, PredictJob) else job
    return Plan(
        job=job,
        job_file=job_file,
        labels=labels,
        tiles=tiles,
        split=split,
        shard_size=shard_size,
        images_root=listing.images_root if _names_images(job.data) else "",
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
        news=news,
        measured=known,
    )


def sorted_runs(folder: Path) -> list[Path]:
    """Return the runs in the folder of a job, newest first."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if not path.is_symlink() and (path / "run.json").is_file()]
    return sorted(found, key=lambda path: path.name, reverse=True)


def _news(job: Job, split: Sequence[Place] | None, earlier: Sequence[Path]) -> Sequence[str] | None:
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


def _names_images(data: Data) -> bool:
    return data.images is not None or data.image_list is not None or data.pair.by == "csv"


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


def _chosen(job: Job, listing: Listing) -> tuple[Sequence[Tile], Sequence[Place] | None]:
    """Pick the tiles that the job is about: its part of the split, and not more than its limit."""
    if isinstance(job, TrainJob):
        return _in_parts(job, listing)
    tiles = listing.tiles
    if job.data.part is not None and job.data.split is not None:
        parts = assigned(listing, job.data.split)
        tiles = sorted_tiles(tile for tile, _, part in parts if part == job.data.part)
        if not tiles:
            raise InputError(f"data.part: no tile falls into the part `{job.data.part}`.")
    if job.data.limit is not None:
        by_hash = ordered((hash_key(tile.name, 0), *tile.fields) for tile in tiles)
        tiles = sorted_tiles(Tile(*row[1:]) for row in islice(by_hash, job.data.limit))
    return tiles, None


def _in_parts(job: TrainJob, listing: Listing) -> tuple[Sequence[Tile], Sequence[Place]]:
    """Pick the tiles that are seen in training, and say in which part every tile is."""
    if job.data.split is not None:
        placed: Iterable[Row] = ((*tile.fields, group, part) for tile, group, part in assigned(listing, job.data.split))
    else:
        placed = ((*tile.fields, tile.name, "train") for tile in listing.tiles)
    if job.data.limit is not None:
        placed = _limited(placed, job.data.limit)
    seen, split = Sorter(), Sorter()
    trained = False
    for *fields, group, part in placed:
        tile = Tile(*fields)
        split.add((tile.name, group, part))
        trained |= part == "train"
        if part != "test":
            seen.add(tile.fields)
    if not trained:
        raise InputError("data.split: no tile falls into the part `train`, so there is nothing to train on.")
    return mapped(seen.rows(), lambda row: Tile(*row)), mapped(split.rows(), lambda row: (row[0], row[1], row[2]))


def _limited(placed: Iterable[Row], limit: int) -> Iterator[Row]:
    """Keep the first tiles of each part, in the order of their hash."""
    named = ((Tile(*row[:2]).name, row) for row in placed)
    keyed = ordered((row[-1], hash_key(name, 0), name, *row) for name, row in named)
    for _, of_part in groupby(keyed, lambda row: row[0]):
        yield from (row[3:] for row in islice(of_part, limit))


def _shard_size(job: TrainJob | PredictJob | EvaluateJob, tiles: int, measured: Sequence[Measured]) -> int:
    """Tiles of a task: whole batches, so that a batch holds the same tiles however the work is cut up."""
    if isinstance(job, TrainJob):
        return tiles
    if isinstance(job, EvaluateJob):
        return max(tiles, 1)
    if job.predict.tasks == "auto":
        wanted = max(tiles, 1)
        if not unknown_speed(job, measured):
            wanted = min(wanted, tiles_of_a_task(job, measured))
    else:
        wanted = job.predict.shard_size or math.ceil(tiles / job.predict.tasks)
    batch = job.predict.batch_size
    return math.ceil(wanted / batch) * batch

"""Looking at a job's data before it runs: what would fail, and what would silently go wrong. No TensorFlow here."""

from __future__ import annotations

import heapq
import os
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from segbatch.data.findings import Finding, Severity, shown
from segbatch.data.formats import ImageFormat
from segbatch.data.image_checks import ImageChecks, Wanted
from segbatch.data.looks import Look, look_at_image, look_at_mask
from segbatch.data.mask_checks import MaskChecks
from segbatch.data.rasters import has_rasterio
from segbatch.data.region_checks import RegionChecks
from segbatch.errors import InputError
from segbatch.runs import packs
from segbatch.runs.listing import Listing, list_tiles, sorted_tiles
from segbatch.runs.sorting import Sorter
from segbatch.runs.splits import assigned, hash_fraction
from segbatch.runs.tiles import Tile
from segbatch.runs.walk import is_tiff
from segbatch.spec.bundle import BundleInfo, read_info
from segbatch.spec.data import PARTS, Split
from segbatch.spec.gate_job import GateJob
from segbatch.spec.job import EvaluateJob, Job, PredictJob, TrainJob
from segbatch.spec.mask_rules import rules_of

__all__ = ["Finding", "lint", "lint_content"]

Progress = Callable[[int, int], None]
_AT_ONCE = 256


def lint_content(job: Job, names: Container[str]) -> list[Finding]:
    """Read all files of some of a train job's tiles, and check what is in them.

    Args:
        job: the job, with an absolute `data.root`.
        names: of the tiles.

    Returns:
        Findings, errors first.
    """
    listing = list_tiles(job.data, need_masks=True)
    tiles = [tile for tile in listing.tiles if tile.name in names]
    found = _content(job, None, listing, tiles, lambda done, total: None)
    return sorted(found, key=lambda finding: finding.severity != "error")


def lint(job: Job, *, full: bool, sample: int, progress: Progress = lambda done, total: None) -> list[Finding]:
    """Look at the data of a job.

    Names are compared for all files. Of their content, a sample is read: always the same tiles, chosen by the hash of
    their names.

    Args:
        job: the job, with an absolute `data.root`.
        full: read every file.
        sample: otherwise, tiles to read.
        progress: called with the tiles read so far and in all.

    Returns:
        Findings, errors first.

    Raises:
        InputError: folders or tables are missing, or there are no tiles.
    """
    listing = list_tiles(job.data, need_masks=not isinstance(job, PredictJob))
    info, findings = _bundle(job)
    findings += _names(job, listing)
    absent = _absent(job, listing)
    findings += _missing(absent)
    tiles, about_parts = _tiles(job, listing)
    findings += about_parts
    gone = {name: set(names) for name, names in absent.items()}
    there = (tile for tile in tiles if tile.image not in gone["image"] and tile.mask not in gone["mask"])
    if full:
        tiles = sorted_tiles(there)
    else:
        tiles = heapq.nsmallest(sample, there, key=lambda tile: (hash_fraction(tile.name, 0), tile.name))
    tiles, about_kinds = _openable(tiles)
    findings += about_kinds
    findings += _content(job, info, listing, tiles, progress)
    return sorted(findings, key=lambda finding: finding.severity != "error")


def _bundle(job: Job) -> tuple[BundleInfo | None, list[Finding]]:
    """What the model of a predict job says of itself, where it is a bundle."""
    if not isinstance(job, PredictJob) or Path(job.model.bundle).is_file():
        return None, []
    try:
        info = read_info(Path(job.model.bundle))
        if job.predict.fit == "window":
            info.refuse_windows(Path(job.model.bundle))
        rules_of(job.predict, info, Path(job.model.bundle))
        return info, []
    except InputError as error:
        fix = "Run the train job first, or mend `model`; the data was checked without it."
        return None, [Finding("error", "model", str(error).rstrip("."), 1, shown(job.model.bundle), fix)]


def _names(job: Job, listing: Listing) -> Iterator[Finding]:
    """Check what the names of all files tell."""
    pairs = [" and ".join(sorted(map(shown, pair))) for pair in listing.duplicates]
    fix = "Move one of each aside, or name the files to use in a table (`data.pair: {by: csv, ...}`)."
    yield from _of_names("error", "duplicate outputs", "files of one name would share one mask", pairs, fix)
    images, masks = listing.unpaired_images, listing.unpaired_masks
    fix = "Add the missing files, or say how names pair under `data.pair`."
    then = "they are predicted, not scored" if isinstance(job, PredictJob) else "they are left out"
    yield from _of_names("warning", "images without mask", f"images have no mask of their name; {then}", images, fix)
    message = "masks have no image of their name; they are left out"
    yield from _of_names("warning", "masks without image", message, masks, fix)
    if isinstance(job, EvaluateJob):
        masks = [tile.mask for tile in listing.tiles if not tile.prediction]
        fix = "Predict them, or let `data.predictions.folder` name the folder that holds them."
        message = "masks have no prediction of their name; they are rejected"
        yield from _of_names("error", "masks without prediction", message, masks, fix)


def _absent(job: Job, listing: Listing) -> dict[str, list[str]]:
    """Find the images and masks that a table or list names and that are not there, however large the sample."""
    files: dict[str, tuple[str, Iterable[str]]] = {"image": ("", ()), "mask": ("", ())}
    if job.data.pair.by == "csv":
        files["mask"] = (listing.masks_root, (tile.mask for tile in listing.tiles if tile.mask))
    if job.data.pair.by == "csv" or job.data.image_list is not None:
        files["image"] = (listing.images_root, (tile.image for tile in listing.tiles))
    return {
        what: [name for name in names if not packs.exists(os.path.join(root, name))]
        for what, (root, names) in files.items()
    }


def _missing(absent: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    for what, names in absent.items():
        fix = f"Mend the table or list, or let `data.{what}s` name the folder that its paths start from."
        message = f"{what}s that the table or list names do not exist"
        yield from _of_names("error", f"missing {what}s", message, names, fix)


def _of_names(severity: Severity, kind: str, message: str, names: Sequence[str], fix: str) -> Iterator[Finding]:
    if names:
        yield Finding(severity, kind, message, len(names), shown(names[0]), fix)


def _openable(tiles: Sequence[Tile]) -> tuple[Sequence[Tile], list[Finding]]:
    """Leave out tiles of TIFF files where they cannot be read here; tasks may run where they can."""
    if has_rasterio():
        return tiles, []
    unseen = {tile for tile in tiles if any(map(is_tiff, (tile.image, tile.mask, tile.prediction, tile.labelled)))}
    if not unseen:
        return tiles, []
    first = next(tile.name for tile in tiles if tile in unseen)
    fix = "pip install 'segbatch[geo]' here to check them, and where tasks run, which need it."
    message = "TIFF files are read with rasterio, which this Python lacks: they were not looked at"
    finding = Finding("warning", "TIFF files", message, len(unseen), shown(first), fix)
    return [tile for tile in tiles if tile not in unseen], [finding]


def _tiles(job: Job, listing: Listing) -> tuple[Iterable[Tile], list[Finding]]:
    """Pick the tiles that the job is about, and check the parts of its split."""
    split, part = job.data.split, job.data.part
    if split is None:
        return listing.tiles, []
    used = {part} if not isinstance(job, TrainJob) and part is not None else set(PARTS)
    sizes: Counter[str] = Counter()
    chosen = Sorter()
    try:
        for tile, _, found in assigned(listing, split):
            sizes[found] += 1
            if found in used:
                chosen.add(tile.fields)
    except InputError as error:
        fix = "Mend `data.split`; the files were checked without it."
        return listing.tiles, [Finding("error", "split", str(error).rstrip("."), 1, listing.images_root, fix)]
    tiles = (Tile(*row) for row in chosen.rows())
    return tiles, list(_empty_parts(job, split, sizes, listing.images_root))


def _empty_parts(job: Job, split: Split, sizes: Counter[str], root: str) -> Iterator[Finding]:
    for part in PARTS:
        if sizes[part]:
            continue
        needed = part == ("train" if isinstance(job, TrainJob) else job.data.part)
        if needed or _asked_for(job, split, part):
            message = f"no tile falls into the part `{part}`"
            yield Finding("error" if needed else "warning", "empty part", message, 0, root, _part_fix(split, part))


def _asked_for(job: Job, split: Split, part: str) -> bool:
    """Whether a train job names such a part, or means it by default."""
    named = split.parts or split.counts or split.fractions or ("train", "val")
    return isinstance(job, TrainJob) and part in named


def _part_fix(split: Split, part: str) -> str:
    if split.by in ("column", "folder"):
        where = f"the column {split.column!r}" if split.by == "column" else "the first folder of a path"
        return f"Say which values of {where} mean it: `data.split.parts: {{{part}: [...]}}`."
    return "Give it a larger share of the tiles, or smaller groups (`data.split.group`)."


def _content(
    job: Job, info: BundleInfo | None, listing: Listing, tiles: Sequence[Tile], progress: Progress
) -> Iterator[Finding]:
    """Read tiles and check what is in them."""
    images = ImageChecks(_wanted(job, info))
    masks, predictions = _mask_checks(job, info)
    regions = RegionChecks()
    with ThreadPoolExecutor(2 * len(os.sched_getaffinity(0))) as pool:
        for done, seen in enumerate(_in_pieces(pool, tiles, listing), 1):
            size = None
            if seen.image is not None:
                images.add(seen.image)
                size = seen.image.size
            if seen.mask is not None and masks is not None:
                masks.add(seen.mask, size)
                size = size or seen.mask.size
            if seen.prediction is not None and predictions is not None:
                predictions.add(seen.prediction, size)
            if seen.region is not None:
                regions.add(seen.region, size)
            progress(done, len(tiles))
    for checks in (images, masks, predictions, regions):
        if checks is not None:
            yield from checks.findings()


@dataclass(frozen=True)
class _Seen:
    """The files of one tile."""

    image: Look | None
    mask: Look | None
    prediction: Look | None
    region: Look | None


def _in_pieces(pool: ThreadPoolExecutor, tiles: Iterable[Tile], listing: Listing) -> Iterator[_Seen]:
    """Look at tiles in parallel, and give them in order."""

    def see(tile: Tile) -> _Seen:
        return _Seen(
            look_at_image(listing.images_root, tile.image) if tile.image else None,
            look_at_mask(listing.masks_root, tile.mask) if tile.mask else None,
            look_at_mask(listing.predictions_root, tile.prediction) if tile.prediction else None,
            look_at_mask(listing.labelled_root, tile.labelled) if tile.labelled else None,
        )

    remaining = iter(tiles)
    while piece := list(islice(remaining, _AT_ONCE)):
        yield from pool.map(see, piece)


def _wanted(job: Job, info: BundleInfo | None) -> Wanted:
    data = job.data
    fmt = ImageFormat(info.bands, info.depth) if info else ImageFormat(data.bands, data.depth)
    window = None
    if isinstance(job, PredictJob) and job.predict.fit == "window":
        window = job.predict.window or (min(info.input) if info else None)
    return Wanted(fmt, data.size, window)


def _mask_checks(job: Job, info: BundleInfo | None) -> tuple[MaskChecks | None, MaskChecks | None]:
    """Checks of ground truth and of predictions, for those that the job has."""
    labels = info.labels if info is not None else None if isinstance(job, GateJob) else job.labels
    if labels is None or job.data.masks is None:
        return None, None
    masks = MaskChecks(labels, labels.raw_to_index(), "mask")
    if job.data.predictions is None:
        return masks, None
    readings = {"ids": labels.id_to_index(), "raw": labels.raw_to_index()}
    table = readings.pop(job.data.predictions.values)
    return masks, MaskChecks(labels, table, "prediction", readings.popitem())

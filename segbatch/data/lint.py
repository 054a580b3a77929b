"""Looking at a job's data before it runs: what would fail, and what would silently go wrong. No TensorFlow here."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from segbatch.data.findings import Finding, counted, shown
from segbatch.data.formats import ImageFormat
from segbatch.data.image_checks import ImageChecks, Look, Wanted, look
from segbatch.data.mask_checks import MaskChecks
from segbatch.errors import InputError
from segbatch.runs.listing import Listing, list_tiles
from segbatch.runs.splits import assign, hash_fraction
from segbatch.runs.tiles import Tile
from segbatch.spec.bundle import BundleInfo, read_info
from segbatch.spec.data import PARTS, Split
from segbatch.spec.job import EvaluateJob, Job, PredictJob, TrainJob
from segbatch.spec.labels import Labels

__all__ = ["Finding", "lint"]

Progress = Callable[[int, int], None]
_AT_ONCE = 256


def lint(job: Job, *, full: bool, sample: int, progress: Progress) -> list[Finding]:
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
    tiles, about_parts = _tiles(job, listing)
    findings += about_parts
    if not full:
        tiles = sorted(tiles, key=lambda tile: (hash_fraction(tile.name, 0), tile.name))[:sample]
    findings += _content(job, info, listing, tiles, progress)
    return sorted(findings, key=lambda finding: finding.severity != "error")


def _bundle(job: Job) -> tuple[BundleInfo | None, list[Finding]]:
    """What the model of a predict job says of itself, where it is a bundle."""
    if not isinstance(job, PredictJob) or Path(job.model.bundle).is_file():
        return None, []
    try:
        return read_info(Path(job.model.bundle)), []
    except InputError as error:
        fix = "Run the train job first, or mend `model`; the data was checked without it."
        return None, [Finding("error", "model", str(error).rstrip("."), 1, shown(job.model.bundle), fix)]


def _names(job: Job, listing: Listing) -> Iterator[Finding]:
    """Check what the names of all files tell."""
    if pairs := listing.duplicates:
        message = f"{counted(len(pairs), 'pair')} of files of one name would share one mask, such as "
        message += " and ".join(shown(path) for path in pairs[0])
        fix = "Move one of each aside, or name the files to use in a table (`data.pair: {by: csv, ...}`)."
        yield Finding("error", "duplicate outputs", message, len(pairs), shown(pairs[0][1]), fix)
    if unpaired := listing.unpaired_images:
        left = "get a mask, but no score" if isinstance(job, PredictJob) else "are left out"
        fix = "Add their masks, or mend how files are paired (`data.pair`)."
        yield _of_names(f"images without a mask; they {left}", unpaired, listing.images_root, fix)
    if unpaired := listing.unpaired_masks:
        fix = "Add their images, or mend how files are paired (`data.pair`)."
        yield _of_names("masks without an image; they are left out", unpaired, listing.masks_root, fix)
    if isinstance(job, EvaluateJob):
        missing = [tile.mask for tile in listing.tiles if not tile.prediction]
        if missing:
            fix = "Predict them, or point `data.predictions.folder` to the folder that holds them."
            yield _of_names("masks without a prediction; they are rejected", missing, listing.masks_root, fix)


def _of_names(message: str, paths: Sequence[str], root: str, fix: str) -> Finding:
    kind = message.split(";")[0]
    return Finding("warning", kind, f"{len(paths):,} {message}", len(paths), shown(root, paths[0]), fix)


def _tiles(job: Job, listing: Listing) -> tuple[list[Tile], list[Finding]]:
    """Pick the tiles that the job is about, and check the parts of its split."""
    split, part = job.data.split, job.data.part
    if split is None:
        return list(listing.tiles), []
    try:
        parts = {name: part for name, (_, part) in assign(listing, split).items()}
    except InputError as error:
        fix = "Mend `data.split`; the files were checked without it."
        return list(listing.tiles), [Finding("error", "split", str(error).rstrip("."), 1, listing.images_root, fix)]
    used = {part} if not isinstance(job, TrainJob) and part is not None else set(PARTS)
    tiles = [tile for tile in listing.tiles if parts.get(tile.name) in used]
    return tiles, list(_empty_parts(job, split, Counter(parts.values()), listing.images_root))


def _empty_parts(job: Job, split: Split, sizes: Counter[str], root: str) -> Iterator[Finding]:
    for part in PARTS:
        if sizes[part]:
            continue
        needed = part == ("train" if isinstance(job, TrainJob) else job.data.part)
        if needed or _asked_for(job, split, part):
            message = f"no tile falls into the part `{part}`"
            yield Finding("error" if needed else "warning", "empty part", message, 0, root, _part_fix(split, part))


def _asked_for(job: Job, split: Split, part: str) -> bool:
    """Whether a train job says, or by default means, that there is such a part."""
    if not isinstance(job, TrainJob):
        return False
    named = {"hash": split.fractions, "counts": split.counts}.get(split.by, split.parts)
    return part == "val" if named is None else bool(dict(named).get(part))  # type: ignore[call-overload]


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
    roots = (listing.images_root, listing.masks_root, listing.predictions_root)
    with ThreadPoolExecutor(2 * len(os.sched_getaffinity(0))) as pool:
        for done, seen in enumerate(_in_pieces(pool, tiles, roots), 1):
            size = seen.image.picture.size if seen.image and seen.image.picture else None
            if seen.image is not None:
                images.add(seen.image)
            if seen.mask is not None and masks is not None:
                masks.add(seen.mask, size)
                size = size or (seen.mask.picture.size if seen.mask.picture else None)
            if seen.prediction is not None and predictions is not None:
                predictions.add(seen.prediction, size)
            progress(done, len(tiles))
    for checks in (images, masks, predictions):
        if checks is not None:
            yield from checks.findings()


@dataclass(frozen=True)
class _Seen:
    """The files of one tile."""

    image: Look | None
    mask: Look | None
    prediction: Look | None


def _in_pieces(pool: ThreadPoolExecutor, tiles: Iterable[Tile], roots: tuple[str, str, str]) -> Iterator[_Seen]:
    """Look at tiles in parallel, and in order; decoded pictures wait in memory only for those of one piece."""

    def see(tile: Tile) -> _Seen:
        names = (tile.image, tile.mask, tile.prediction)
        return _Seen(
            *(look(os.path.join(root, name)) if name else None for root, name in zip(roots, names, strict=True))
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
    return Wanted(fmt, data.size, window, tolerant=not isinstance(job, TrainJob))


def _mask_checks(job: Job, info: BundleInfo | None) -> tuple[MaskChecks | None, MaskChecks | None]:
    labels: Labels | None = info.labels if info is not None else job.labels
    if labels is None or job.data.masks is None:
        return None, None
    tolerant = not isinstance(job, TrainJob)
    masks = MaskChecks(labels, labels.raw_to_index(), "mask", tolerant=False)
    if not isinstance(job, EvaluateJob):
        return masks, None
    ids = job.data.predictions is None or job.data.predictions.values == "ids"
    table = labels.id_to_index() if ids else labels.raw_to_index()
    return masks, MaskChecks(labels, table, "prediction", tolerant=tolerant)

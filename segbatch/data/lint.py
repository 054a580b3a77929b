"""A look at a job's data before it runs: what would be rejected, mixed up or lost, with the likely fix."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from segbatch.data.formats import ImageFormat
from segbatch.data.mask_values import suspect
from segbatch.data.pictures import Picture, PictureError, read_picture
from segbatch.data.reasons import check_image, listed, raw_mask_of, sized
from segbatch.errors import InputError
from segbatch.runs.listing import Listing, list_tiles
from segbatch.runs.splits import assign, hash_fraction
from segbatch.runs.tiles import Tile
from segbatch.spec.bundle import read_info
from segbatch.spec.data import Part
from segbatch.spec.job import Job, PredictJob, TrainJob
from segbatch.spec.labels import IGNORED, UNCLAIMED, Labels

Severity = Literal["error", "warning"]
Progress = Callable[[int, int], None]
T = TypeVar("T")
SUFFIX_KINDS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".bmp": "BMP", ".gif": "GIF"}


@dataclass(frozen=True)
class Finding:
    """One thing amiss."""

    severity: Severity
    """An error would stop the job or spoil its result; a warning may be meant so."""
    kind: str
    """Short name of what was found."""
    message: str
    """What was found."""
    count: int
    """Number of files."""
    example: str
    """One of them."""
    fix: str
    """What to do."""


@dataclass(frozen=True)
class _Look:
    """What one tile showed."""

    tile: Tile
    image: Picture | None
    mask: Picture | None
    counts: NDArray[np.int64] | None
    """Pixels of each raw value, int64 [256]."""
    faults: tuple[tuple[str, str, str], ...]
    """Kind, file, reason."""


def lint(job: Job, *, full: bool, sample: int, progress: Progress = lambda done, total: None) -> list[Finding]:
    """Look at the data of a job.

    Args:
        job: what is to run.
        full: read every tile, not a sample.
        sample: tiles to read otherwise, chosen by hash of their names.
        progress: told the number of tiles read and to read.

    Returns:
        Findings, errors first.

    Raises:
        InputError: the files cannot even be listed.
    """
    listing = list_tiles(job.data, need_masks=not isinstance(job, PredictJob))
    findings = [*_names(job, listing), *_parts(job, listing)]
    tiles = list(listing.tiles)
    if not full and len(tiles) > sample:
        tiles = sorted(tiles, key=lambda tile: hash_fraction(tile.name, 0))[:sample]
    reader = _Reader(job, listing)
    looks = []
    with ThreadPoolExecutor(max(2, len(os.sched_getaffinity(0)))) as pool:
        for done, look in enumerate(pool.map(reader, tiles), 1):
            looks.append(look)
            progress(done, len(tiles))
    findings += [*_faults(looks), *_suffixes(looks), *_mixtures(job, looks), *_values(reader.labels, looks)]
    return sorted(findings, key=lambda finding: finding.severity)


class _Reader:
    """Reads one tile and its mask."""

    def __init__(self, job: Job, listing: Listing) -> None:
        self.labels, self._format = _expected(job)
        self._size = job.data.size
        self._images = job.data.images is not None or job.data.pair.by == "csv"
        self._masks = job.data.masks is not None
        self._listing = listing

    def __call__(self, tile: Tile) -> _Look:
        faults: list[tuple[str, str, str]] = []
        image = self._read(Path(self._listing.images_root, tile.image), faults) if self._images else None
        mask = self._read(Path(self._listing.masks_root, tile.mask), faults) if self._masks and tile.mask else None
        counts = None
        if image is not None:
            self._attempt(lambda: check_image(image, self._format, self._size), "unfit images", tile.image, faults)
        if mask is not None:
            counts = self._attempt(lambda: _value_counts(mask), "colour masks", tile.mask, faults)
        if image is not None and mask is not None and image.size != mask.size:
            faults.append(("sizes", tile.name, f"image of {sized(image.size)}, mask of {sized(mask.size)}"))
        return _Look(tile, _without_pixels(image), _without_pixels(mask), counts, tuple(faults))

    @staticmethod
    def _read(path: Path, faults: list[tuple[str, str, str]]) -> Picture | None:
        try:
            return read_picture(path)
        except PictureError as reason:
            faults.append(("unreadable files", str(path), str(reason)))
            return None

    @staticmethod
    def _attempt(check: Callable[[], T], kind: str, name: str, faults: list[tuple[str, str, str]]) -> T | None:
        try:
            return check()
        except PictureError as reason:
            faults.append((kind, name, str(reason)))
            return None


def _value_counts(mask: Picture) -> NDArray[np.int64]:
    return np.bincount(raw_mask_of(mask).ravel(), minlength=256)


def _without_pixels(picture: Picture | None) -> Picture | None:
    """Keep what was learned and let the pixels go, so that memory stays flat."""
    if picture is None:
        return None
    return Picture(picture.kind, picture.bits, _Shape(picture.mode, picture.pixels.size))


@dataclass(frozen=True)
class _Shape:
    mode: str
    size: tuple[int, int]


def _expected(job: Job) -> tuple[Labels | None, ImageFormat]:
    """Labels and image format: of the bundle, if there is one, else of the job."""
    if isinstance(job, PredictJob) and Path(job.model.bundle).is_dir():
        info = read_info(Path(job.model.bundle))
        return info.labels, ImageFormat(info.bands, info.depth, info.decode)
    return job.labels, ImageFormat(job.data.bands, job.data.depth, job.data.decode)


def _names(job: Job, listing: Listing) -> Iterator[Finding]:
    severity: Severity = "warning" if listing.tiles else "error"
    fix = "add the missing files, or say how names pair under `data.pair`"
    if listing.unpaired_images:
        names = listing.unpaired_images
        yield Finding(severity, "images without mask", "images have no mask of their name", len(names), names[0], fix)
    if listing.unpaired_masks:
        names = listing.unpaired_masks
        yield Finding(severity, "masks without image", "masks have no image of their name", len(names), names[0], fix)
    if listing.duplicates:
        first = " and ".join(listing.duplicates[0])
        message = "files of one name with different extensions would share one mask"
        fix = "move one of each aside, or name the files to use in a table (`data.pair: {by: csv}`)"
        yield Finding("error", "duplicate outputs", message, len(listing.duplicates), first, fix)


def _parts(job: Job, listing: Listing) -> Iterator[Finding]:
    split = job.data.split
    if split is None:
        return
    try:
        sizes = Counter(part for _, part in assign(listing, split).values())
    except InputError as error:
        yield Finding("error", "split", str(error), len(listing.tiles), listing.tiles[0].name, "mend `data.split`")
        return
    wanted: list[Part] = ["train", "val"] if isinstance(job, TrainJob) else [job.data.part or "train"]
    for part in wanted:
        asked = part in (split.parts or split.counts or split.fractions or {"train": 1, "val": 1})
        if asked and not sizes[part]:
            severity: Severity = "warning" if part == "val" else "error"
            fix = "give the part a larger share, or mend what `data.split` names"
            found = ", ".join(f"{name} {size}" for name, size in sizes.items()) or "none"
            yield Finding(severity, "empty part", f"no tile falls into the part {part}", 0, f"parts: {found}", fix)


_FIXES: dict[str, tuple[Severity, str, str]] = {
    "unreadable files": ("error", "files cannot be read", "replace or remove them; a predict run would reject them"),
    "unfit images": ("error", "images do not fit the model", "convert them, or set `data.bands` and `data.depth`"),
    "colour masks": ("error", "masks hold colours, not one value a pixel", "convert them to one value a class"),
    "sizes": ("error", "image and mask differ in size", "pair them rightly, or make the masks anew"),
}


def _faults(looks: Sequence[_Look]) -> Iterator[Finding]:
    by_kind: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for look in looks:
        for kind, name, reason in look.faults:
            by_kind[kind].append((name, reason))
    for kind, found in by_kind.items():
        severity, message, fix = _FIXES[kind]
        name, reason = found[0]
        yield Finding(severity, kind, message, len(found), f"{name}: {reason}", fix)


def _suffixes(looks: Sequence[_Look]) -> Iterator[Finding]:
    wrong = []
    for look in looks:
        for name, picture in ((look.tile.image, look.image), (look.tile.mask, look.mask)):
            if picture is not None and SUFFIX_KINDS.get(os.path.splitext(name)[1].lower()) != picture.kind:
                wrong.append(f"{name} is {picture.kind}")
    if wrong:
        message = "files are of another kind than their names say"
        fix = "nothing need be done: segbatch reads by content; other tools may stumble"
        yield Finding("warning", "wrong extensions", message, len(wrong), wrong[0], fix)


def _mixtures(job: Job, looks: Sequence[_Look]) -> Iterator[Finding]:
    sizes = Counter(look.image.size for look in looks if look.image is not None)
    if len(sizes) > 1:
        common, _ = sizes.most_common(1)[0]
        odd = next(look for look in looks if look.image is not None and look.image.size != common)
        message = f"images have {len(sizes)} sizes, most of them {sized(common)}"
        fix = "fine if meant so; `data.size` rejects all but one size"
        yield Finding("warning", "sizes of tiles", message, sizes.total() - sizes[common], odd.tile.name, fix)
    window = job.predict.window if isinstance(job, PredictJob) else None
    small = [size for size in sizes if window is not None and min(size) < window]
    if small:
        name = next(look.tile.name for look in looks if look.image is not None and look.image.size in small)
        message = f"the window of {window} pixels is larger than tiles"
        count = sum(sizes[size] for size in small)
        yield Finding("warning", "window", message, count, name, "take a smaller `predict.window`; edges are mirrored")


@dataclass
class _MaskSum:
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    kinds: set[str] = field(default_factory=set)


def _values(labels: Labels | None, looks: Sequence[_Look]) -> Iterator[Finding]:
    if labels is None:
        return
    table = np.frombuffer(labels.raw_to_index(), np.uint8)
    total, foreign, blind = _MaskSum(), [], []
    for look in looks:
        if look.counts is None or look.mask is None:
            continue
        total.counts += look.counts
        total.kinds.add(look.mask.kind)
        values = np.flatnonzero(look.counts)
        if (table[values] == UNCLAIMED).any():
            foreign.append(look.tile.mask)
        elif (table[values] == IGNORED).all():
            blind.append(look.tile.mask)
    found = {value: int(total.counts[value]) for value in np.flatnonzero(total.counts).tolist()}
    cause = suspect(labels, found, frozenset(total.kinds))
    if cause is not None:
        unclaimed = [value for value in found if table[value] == UNCLAIMED]
        message = f"masks hold values that no class of {labels.name!r} claims: {listed(unclaimed, total.counts)}"
        yield Finding("error", cause.kind, message, len(foreign), foreign[0], cause.fix)
    if blind:
        message = "masks hold only ignored pixels: they neither train nor score"
        yield Finding("warning", "ignored masks", message, len(blind), blind[0], "leave them out, or mend the labels")

"""Finding a job's files and pairing images with masks; always by name, never by position."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from segbatch.errors import InputError
from segbatch.runs.tiles import Tile
from segbatch.spec.data import Data, Pairing

TIFF_SUFFIXES = frozenset({".tif", ".tiff"})
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif"}) | TIFF_SUFFIXES
Row = Mapping[str, str]


@dataclass(frozen=True)
class Listing:
    """The tiles of a job, and what did not become one."""

    tiles: Sequence[Tile]
    """Sorted by image (or mask, where no images are named)."""
    images_root: str
    """Folder that `Tile.image` is relative to."""
    masks_root: str
    """Folder that `Tile.mask` is relative to."""
    predictions_root: str = ""
    """Folder that `Tile.prediction` is relative to."""
    labelled_root: str = ""
    """Folder that `Tile.labelled` is relative to."""
    unpaired_images: Sequence[str] = ()
    """Images without a mask; they are tiles only where masks are not needed."""
    unpaired_masks: Sequence[str] = ()
    """Masks without an image."""
    duplicates: Sequence[tuple[str, str]] = ()
    """Pairs of images that would write the same mask, such as a.jpg and a.png."""
    rows: Mapping[str, Row] = field(default_factory=dict)
    """Row of the pairing table for each tile's name; empty without a table."""


def find_files(root: Path, suffixes: frozenset[str] = IMAGE_SUFFIXES) -> Iterator[str]:
    """Yield the relative POSIX paths of picture files below `root`, hidden ones left out, unsorted.

    A folder reached twice through symbolic links is read once.
    """
    seen: set[tuple[int, int]] = set()
    pending = [("", str(root))]
    while pending:
        prefix, folder = pending.pop()
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    pending.append((f"{prefix}{entry.name}/", entry.path))
                elif os.path.splitext(entry.name)[1].lower() in suffixes:
                    yield prefix + entry.name


def is_tiff(name: str) -> bool:
    """Tell by its name whether a file is a TIFF."""
    return os.path.splitext(name)[1].lower() in TIFF_SUFFIXES


def mask_name(image: str) -> str:
    """Where a tile's mask goes: its image's path with the extension `.png`."""
    return os.path.splitext(image)[0] + ".png"


def list_tiles(data: Data, *, need_masks: bool) -> Listing:
    """Find the files that a job's `data` names and pair them.

    Args:
        data: the section, with an absolute `root`.
        need_masks: leave out images without a mask (training, evaluation) instead of listing them without one.

    Raises:
        InputError: a folder or table is missing, has no pictures, or lacks a column.
    """
    root = _plain(Path(data.root))
    images_root = root / (data.images or ".")
    masks_root = root / (data.masks or ".")
    predictions_root = root / data.predictions.folder if data.predictions else None
    if data.pair.by == "csv":
        listing = _by_table(data, root, images_root, masks_root)
    else:
        images = sorted(_pictures(images_root, "data.images")) if data.images is not None else None
        masks = sorted(_pictures(masks_root, "data.masks")) if data.masks is not None else None
        listing = _by_name(data.pair, images, masks, str(images_root), str(masks_root))
    if need_masks:
        listing = replace(listing, tiles=[tile for tile in listing.tiles if tile.mask])
    if predictions_root is not None:
        listing = _with_predictions(listing, predictions_root)
    if data.labelled is not None:
        listing = _with_regions(listing, root / data.labelled)
    if not listing.tiles:
        raise InputError(_nothing(listing, need_masks))
    return listing


def _pictures(folder: Path, key: str) -> list[str]:
    if not folder.is_dir():
        raise InputError(f"{key}: {folder} is no folder. Expected the folder that holds the files.")
    found = list(find_files(folder))
    if not found:
        kinds = ", ".join(sorted(IMAGE_SUFFIXES))
        raise InputError(f"{key}: no pictures in {folder}. Expected files ending in {kinds}, in any folder below it.")
    return found


def _plain(folder: Path) -> Path:
    """Write `a/../b` as `b`, and leave links that need not be followed alone: nodes may mount them elsewhere."""
    return folder.resolve() if ".." in folder.parts else folder


def _stem(path: str) -> str:
    return os.path.splitext(path)[0]


def _key(pair: Pairing, suffix: str | None) -> Callable[[str], str | None]:
    if pair.by == "suffix":
        ending = suffix or ""
        return lambda path: path[: -len(ending)] if path.endswith(ending) else None
    return _stem


def _index(paths: Sequence[str], key: Callable[[str], str | None]) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Map keys to paths; of several paths with one key the first counts and the others are returned as duplicates."""
    index: dict[str, str] = {}
    duplicates = []
    for path in paths:
        stem = key(path)
        if stem is None:
            continue
        if stem in index:
            duplicates.append((index[stem], path))
        else:
            index[stem] = path
    return index, duplicates


def _by_name(
    pair: Pairing, images: Sequence[str] | None, masks: Sequence[str] | None, images_root: str, masks_root: str
) -> Listing:
    by_mask, mask_duplicates = _index(masks or (), _key(pair, pair.mask_suffix))
    if images is None:
        tiles = [Tile("", mask) for mask in sorted(by_mask.values())]
        return Listing(tiles, images_root, masks_root, duplicates=mask_duplicates)
    by_image, duplicates = _index(images, _key(pair, pair.image_suffix))
    tiles = sorted(Tile(image, by_mask.get(key, "")) for key, image in by_image.items())
    return Listing(
        tiles,
        images_root,
        masks_root,
        unpaired_images=[tile.image for tile in tiles if not tile.mask] if masks is not None else [],
        unpaired_masks=sorted(path for key, path in by_mask.items() if key not in by_image),
        duplicates=duplicates + mask_duplicates,
    )


def read_table(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Read a CSV table with a header line.

    Raises:
        InputError: the table is missing, is no UTF-8 text, or lacks one of `columns`.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as handle:
            reader = csv.DictReader(handle, strict=True)
            rows = [dict(row) for row in reader]
    except OSError as error:
        raise InputError(f"data.pair.file: cannot read {path}: {error.strerror}.") from error
    except csv.Error as error:
        raise InputError(f"data.pair.file: {path} is no CSV table: {error}.") from error
    have = list(reader.fieldnames or ())
    missing = [column for column in columns if column not in have]
    if missing:
        raise InputError(f"data.pair.file: {path} has no column {missing[0]!r}. Its columns: {', '.join(have)}.")
    return rows


def _by_table(data: Data, root: Path, images_root: Path, masks_root: Path) -> Listing:
    pair = data.pair
    with_masks = data.masks is not None
    columns = [pair.image_column] + ([pair.mask_column] if with_masks else [])
    if data.split is not None and data.split.by == "column":
        columns.append(data.split.column)
    if data.split is not None and data.split.group is not None and data.split.group.column:
        columns.append(data.split.group.column)
    rows: dict[str, Row] = {}
    tiles: list[Tile] = []
    duplicates: list[tuple[str, str]] = []
    written: dict[str, str] = {}
    for row in read_table(root / (pair.file or ""), columns):
        image = row[pair.image_column] or ""
        if not image:
            continue
        _stay_inside(image, root / (pair.file or ""), pair.image_column)
        tile = Tile(image, (row[pair.mask_column] or "") if with_masks else "")
        if mask_name(image) in written:
            duplicates.append((written[mask_name(image)], image))
            continue
        written[mask_name(image)] = image
        rows[image] = row
        tiles.append(tile)
    return Listing(
        sorted(tiles),
        str(images_root),
        str(masks_root),
        unpaired_images=sorted(tile.image for tile in tiles if with_masks and not tile.mask),
        duplicates=duplicates,
        rows=rows,
    )


def _stay_inside(image: str, table: Path, column: str) -> None:
    """Refuse paths that leave the images' folder: their masks would be written outside the run."""
    if os.path.isabs(image) or ".." in image.split("/"):
        raise InputError(
            f"data.pair.file: {table}, column {column!r}: {image!r} leaves the folder `data.images`. "
            "Expected a path below it; choose a higher `data.images`."
        )


def _with_predictions(listing: Listing, folder: Path) -> Listing:
    by_stem, _ = _index(sorted(_pictures(folder, "data.predictions.folder")), _stem)
    tiles = [replace(tile, prediction=_of_same_name(tile, by_stem)) for tile in listing.tiles]
    if tiles and not any(tile.prediction for tile in tiles):
        raise InputError(
            f"data.predictions.folder: no mask in {folder} belongs to a tile. Expected, for {tiles[0].name}, a file of "
            f"the same path and name with any extension; found, for example, {next(iter(by_stem.values()))}."
        )
    return replace(listing, tiles=tiles, predictions_root=str(folder))


def _with_regions(listing: Listing, folder: Path) -> Listing:
    by_stem, _ = _index(sorted(_pictures(folder, "data.labelled")), _stem)
    tiles = [replace(tile, labelled=_of_same_name(tile, by_stem)) for tile in listing.tiles]
    without = [tile.name for tile in tiles if not tile.labelled]
    if without:
        raise InputError(
            f"data.labelled: {len(without)} of {len(tiles)} tiles have no mask of their labelled region in {folder}. "
            f"Expected, for {without[0]}, a file of the same path and name with any extension; found, for example, "
            f"{next(iter(by_stem.values()))}."
        )
    return replace(listing, tiles=tiles, labelled_root=str(folder))


def _of_same_name(tile: Tile, by_stem: Mapping[str, str]) -> str:
    """Find the file of the same path and name as the image's or, failing that, the truth's; "" if there is none."""
    names = (name for name in (tile.image, tile.mask) if name)
    return next((by_stem[stem] for stem in map(_stem, names) if stem in by_stem), "")


def _nothing(listing: Listing, need_masks: bool) -> str:
    if need_masks and listing.unpaired_images:
        example = listing.unpaired_images[0]
        other = f"; a mask without image: {listing.unpaired_masks[0]}" if listing.unpaired_masks else ""
        return (
            f"data: none of the {len(listing.unpaired_images)} images has a mask. An image without mask: {example}"
            f"{other}. Say how they pair under `data.pair` (by: stem, suffix or csv)."
        )
    return f"data: no tiles in {listing.images_root}."

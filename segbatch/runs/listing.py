"""Finding a job's files and pairing images with masks; always by name, never by position.

Names stream through sorts of bounded memory (`sorting`), so a list may be of any length: images and masks are sorted
by what they pair by, walked side by side, and what became a tile is sorted by name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from segbatch.errors import InputError
from segbatch.runs import packs
from segbatch.runs.sorting import Row, Sorter, beside, mapped, ordered
from segbatch.runs.sources import Images, images_of, listed_images, no_pictures, plain, unreadable
from segbatch.runs.table import pairs_of, split_columns
from segbatch.runs.tiles import Tile
from segbatch.runs.walk import IMAGE_SUFFIXES, find_below
from segbatch.spec.data import Data, Pairing

Tick = Callable[[int], None]
TICK_FILES = 1000
"""A listing tells how far it is after so many files."""


@dataclass(frozen=True)
class Listing:
    """The tiles of a job, and what did not become one. Long sequences lie in temporary files; walk through them."""

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
    duplicates: Sequence[tuple[str, ...]] = ()
    """Pairs of images that would write the same mask, such as a.jpg and a.png."""
    rows: Sequence[Mapping[str, str]] = ()
    """Row of the pairing table for each tile, in their order; the columns that the split reads. Empty without any."""


def find_files(root: Path, suffixes: frozenset[str] = IMAGE_SUFFIXES) -> Iterator[str]:
    """Yield the relative POSIX paths of picture files below `root`, hidden ones left out, unsorted.

    A folder reached twice through symbolic links is read once. In a pack, the names are those of its members.

    Raises:
        InputError: a pack is damaged or unfinished.
    """
    return find_below([("", str(root))], suffixes=suffixes)


def mask_name(image: str) -> str:
    """What a tile's mask is called: its image's path, any archive left out, with the extension `.png`."""
    return _stem(image) + ".png"


def list_tiles(data: Data, *, need_masks: bool, tick: Tick = lambda files: None) -> Listing:
    """Find the files that a job's `data` names and pair them.

    Args:
        data: the section, with an absolute `root`.
        need_masks: leave out images without a mask (training, evaluation) instead of listing them without one.
        tick: told now and then how many files were found.

    Raises:
        InputError: a folder or table is missing, has no pictures, or lacks a column.
        SegbatchError: the folder for temporary files is full.
    """
    return _Listing(data, need_masks, tick).made()


def sorted_tiles(tiles: Iterable[Tile]) -> Sequence[Tile]:
    """Sort tiles in bounded memory."""
    return mapped(ordered(tile.fields for tile in tiles), lambda row: Tile(*row))


def _stem(path: str) -> str:
    return os.path.splitext(packs.plain_name(path))[0]


def _key(pair: Pairing, suffix: str | None) -> Callable[[str], str | None]:
    if pair.by == "suffix":
        ending = suffix or ""
        return lambda path: packs.plain_name(path)[: -len(ending)] if path.endswith(ending) else None
    return _stem


class _Listing:
    """One listing in the making."""

    def __init__(self, data: Data, need_masks: bool, tick: Tick) -> None:
        self._data, self._need_masks, self._tick = data, need_masks, tick
        self._root = plain(Path(data.root))
        self._files = 0
        self._tiles = Sorter()
        self._unpaired_images = Sorter()
        self._unpaired_masks = Sorter()
        self._duplicates = Sorter()

    def made(self) -> Listing:
        data = self._data
        images = images_of(data, self._root)
        if images.patterned and (data.image_list is not None or data.pair.by == "csv"):
            raise InputError(
                "data.images: the paths of a list or table start from one folder, received the pattern "
                f"{data.images!r}. Expected a folder, or leave the list or table out."
            )
        if data.pair.by == "csv":
            self._by_table(images)
        else:
            self._by_name(images)
        more = split_columns(data)
        rows = self._tiles.rows()
        listing = Listing(
            mapped(rows, lambda row: Tile(*row[:2])),
            str(images.root),
            str(self._root / (data.masks or ".")),
            unpaired_images=mapped(self._unpaired_images.rows(), _only),
            unpaired_masks=mapped(self._unpaired_masks.rows(), _only),
            duplicates=self._duplicates.rows(),
            rows=mapped(rows, lambda row: dict(zip(more, row[2:], strict=True))) if more else (),
        )
        if data.predictions is not None:
            listing = self._with_predictions(listing, self._root / data.predictions.folder)
        if data.labelled is not None:
            listing = self._with_regions(listing, self._root / data.labelled)
        if not listing.tiles:
            raise InputError(_nothing(listing, self._need_masks))
        return listing

    def _counted(self, names: Iterable[str]) -> Iterator[str]:
        for name in names:
            self._files += 1
            if self._files % TICK_FILES == 0:
                self._tick(self._files)
            yield name

    def _pictures(self, folder: Path, key: str) -> Iterator[str]:
        """Yield the pictures in a folder, unsorted."""
        if not folder.is_dir():
            raise InputError(f"{key}: {folder} is no folder. Expected the folder that holds the files.")
        found = False
        try:
            for name in self._counted(find_files(folder)):
                found = True
                yield name
        except OSError as error:
            raise unreadable(key, error) from error
        if not found:
            raise no_pictures(key, str(folder))

    def _images(self, images: Images) -> Iterator[str]:
        if self._data.image_list is None:
            return self._counted(images.names())
        packed = _packed(images.root)
        listed = listed_images(self._root / self._data.image_list, images.root)
        return self._counted(packed.get(name, name) for name in listed)

    def _by_name(self, images: Images) -> None:
        pair, data = self._data.pair, self._data
        found = self._pictures(self._root / data.masks, "data.masks") if data.masks is not None else ()
        named = data.images is not None or data.image_list is not None
        pictures = _keyed(self._images(images), _key(pair, pair.image_suffix)) if named else None
        masks = _keyed(found, _key(pair, pair.mask_suffix))
        if pictures is None:
            for _, mask in self._unique(masks):
                self._tiles.add(("", mask))
            return
        for (_, image), other in beside(self._unique(pictures), _first(masks)):
            self._tile(image, other[1] if other is not None else "")
        for (_, mask), other in beside(self._unique(masks), _first(pictures)):
            if other is None:
                self._unpaired_masks.add((mask,))
        if pair.by == "suffix" and "." not in (pair.image_suffix or ""):
            # Names that differ behind their last dot alone, of which the suffix is only a part.
            for _ in self._unique(_keyed((image for _, image in pictures), mask_name)):
                pass

    def _tile(self, image: str, mask: str, *more: str) -> None:
        if not mask and self._data.masks is not None:
            self._unpaired_images.add((image,))
        if mask or not self._need_masks:
            self._tiles.add((image, mask, *more))

    def _by_table(self, images: Images) -> None:
        table = self._root / (self._data.pair.file or "")
        packed, packed_masks = _packed(images.root), _packed(self._root / (self._data.masks or "."))
        named = pairs_of(self._data, table)
        rows = enumerate(
            (packed.get(image, image), packed_masks.get(mask, mask), *more) for image, mask, *more in named
        )
        # Of two rows for one mask, the first of the table counts.
        numbered = ((mask_name(row[0]), f"{number:015}", *row) for number, row in rows)
        before: Row = ()
        for row in ordered(numbered):
            if before and before[0] == row[0]:
                self._duplicates.add((before[2], row[2]))
                continue
            before = row
            self._tile(*row[2:])

    def _unique(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Yield the first row of each key; the others are noted as duplicates, but for files found twice."""
        before: Row = ()
        for row in rows:
            if not before or row[0] != before[0]:
                before = row
                yield row
            elif row[1] != before[1]:
                self._duplicates.add((before[1], row[1]))

    def _with_predictions(self, listing: Listing, folder: Path) -> Listing:
        files = _keyed(self._pictures(folder, "data.predictions.folder"), _stem)
        tiles = _matched(listing.tiles, files, lambda tile, path: replace(tile, prediction=path))
        if tiles and not any(tile.prediction for tile in tiles):
            raise InputError(
                f"data.predictions.folder: no mask in {folder} belongs to a tile. Expected, for {tiles[0].name}, a "
                f"file of the same path and name with any extension; found, for example, {files[0][1]}."
            )
        return replace(listing, tiles=tiles, predictions_root=str(folder))

    def _with_regions(self, listing: Listing, folder: Path) -> Listing:
        files = _keyed(self._pictures(folder, "data.labelled"), _stem)
        tiles = _matched(listing.tiles, files, lambda tile, path: replace(tile, labelled=path))
        without = sum(not tile.labelled for tile in tiles)
        if without:
            example = next(tile.name for tile in tiles if not tile.labelled)
            raise InputError(
                f"data.labelled: {without} of {len(tiles)} tiles have no mask of their labelled region in {folder}. "
                f"Expected, for {example}, a file of the same path and name with any extension; found, for example, "
                f"{files[0][1]}."
            )
        return replace(listing, tiles=tiles, labelled_root=str(folder))


def _packed(folder: Path) -> Mapping[str, str]:
    """Where the files of a table or list lie in a pack: they are named as they were before."""
    if not packs.is_pack(folder):
        return {}
    return {packs.plain_name(name): name for name in find_files(folder)}


def _only(row: Row) -> str:
    return row[0]


def _keyed(names: Iterable[str], key: Callable[[str], str | None]) -> Sequence[Row]:
    """Sort names by a key, and those of one key among themselves; those without one are left out."""
    return ordered((found, name) for name in names if (found := key(name)) is not None)


def _first(rows: Iterable[Row]) -> Iterator[Row]:
    """Yield the first row of each key."""
    before = None
    for row in rows:
        if row[0] != before:
            before = row[0]
            yield row


def _matched(tiles: Sequence[Tile], files: Sequence[Row], put: Callable[[Tile, str], Tile]) -> Sequence[Tile]:
    """Give each tile the file of the same path and name as its image or, failing that, as its truth."""
    done = Sorter()

    def take(by: Callable[[Tile], str], some: Iterable[Tile]) -> Iterator[Tile]:
        for row, other in beside(ordered((_stem(by(tile)), *tile.fields) for tile in some), files):
            tile = Tile(*row[1:])
            if other is None:
                yield tile
            else:
                done.add(put(tile, other[1]).fields)

    for tile in take(lambda tile: tile.mask, take(lambda tile: tile.name, tiles)):
        done.add(tile.fields)
    return mapped(done.rows(), lambda row: Tile(*row))


def _nothing(listing: Listing, need_masks: bool) -> str:
    if need_masks and listing.unpaired_images:
        example = listing.unpaired_images[0]
        other = f"; a mask without image: {listing.unpaired_masks[0]}" if listing.unpaired_masks else ""
        return (
            f"data: none of the {len(listing.unpaired_images)} images has a mask. An image without mask: {example}"
            f"{other}. Say how they pair under `data.pair` (by: stem, suffix or csv)."
        )
    return f"data: no tiles in {listing.images_root}."

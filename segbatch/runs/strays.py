"""Files in the folders of masks that belong to no tile."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from zlib import crc32

from segbatch.runs import packs
from segbatch.runs.files import maker_of
from segbatch.runs.masks import ARCHIVE_TILES, layout_of, mask_file
from segbatch.runs.run import Run
from segbatch.runs.tiles import read_tiles

AT_ONCE = 500_000
"""Names held in memory, 100 MB of them; of more tiles, the folders are walked once for each so many."""


@dataclass
class Found:
    """What lies in a folder of masks."""

    masks: int = 0
    """Files of tiles that are to have one."""
    strays: list[str] = field(default_factory=list)
    """The first few other files, relative to the folder."""
    strays_in_all: int = 0
    unfinished: int = 0
    """Temporary files, which a killed attempt leaves behind."""


def find_strays(run: Run, folder: Path, wanted: Callable[[int], bool], *, most: int) -> Found:
    """Walk through a folder that holds one file a tile and name what belongs to no tile.

    Args:
        run: the run.
        folder: `masks` or another one laid out in the same way.
        wanted: tells by index whether a tile is to have a file.
        most: names to keep.
    """
    found = Found()
    parts = max(1, -(-run.record.tiles // AT_ONCE))
    for part in range(parts):
        names = _names(run, wanted, part, parts)
        for name in _files(folder):
            if maker_of(os.path.basename(name)) is not None:
                found.unfinished += not part
            elif _part(name, parts) == part:
                _sort(name, names, found, most)
    return found


def _sort(name: str, names: set[str], found: Found, most: int) -> None:
    if name in names:
        found.masks += 1
        return
    found.strays_in_all += 1
    if len(found.strays) < most:
        found.strays.append(name)


def _names(run: Run, wanted: Callable[[int], bool], part: int, parts: int) -> set[str]:
    """Names of the files that are to be there, or of one part of them."""
    return {name for name in _wanted_names(run, wanted) if _part(name, parts) == part}


def _wanted_names(run: Run, wanted: Callable[[int], bool]) -> Iterator[str]:
    layout = layout_of(run)
    if layout == "tar":
        # What is in the archives is proven with the tiles.
        yield packs.MANIFEST
        archives = (Path(packs.archive_name(number)) for number in range(-(-run.record.tiles // ARCHIVE_TILES)))
        for archive in archives:
            yield from (archive.name, packs.index_path(archive).name)
        return
    for index, tile in enumerate(read_tiles(run.paths.tiles)):
        if wanted(index):
            yield mask_file(layout, index, tile.image)


def _part(name: str, parts: int) -> int:
    return crc32(os.fsencode(name)) % parts if parts > 1 else 0


def _files(folder: Path) -> Iterator[str]:
    """Yield the relative paths of all files below a folder, one folder at a time."""
    pending = [""]
    while pending:
        prefix = pending.pop()
        try:
            entries = os.scandir(folder / prefix)
        except FileNotFoundError:
            continue
        with entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(f"{prefix}{entry.name}/")
                else:
                    yield prefix + entry.name

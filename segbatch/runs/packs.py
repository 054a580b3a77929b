"""Packs: folders of pictures kept in archives (tar) with indexes, so that millions of small files are a few large ones.

A pack is a folder that holds `pack.json`, written last, and for each of `pack-00000.tar`, `pack-00001.tar` and so on an
index of the same name, ending in `.csv`: name, offset, size and CRC-32 of every member. A picture of a pack goes by the
path `.../pack-00000.tar/scene 1/tile.jpg`; its plain name, which masks and reports bear, leaves the archive out and is
that of the folder that was packed.
"""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import re
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from segbatch.errors import InputError
from segbatch.runs.files import digest

MANIFEST = "pack.json"
HEADER = ("name", "offset", "size", "crc32")
SCHEMA_VERSION = 1
_ARCHIVE_NAME = re.compile(r"pack-\d{5,}\.tar")
_PACKED = re.compile(r"(?s)(?P<folder>(?:.*/)?)(?P<archive>pack-\d{5,}\.tar)/(?P<member>.+)")
_KEPT = 128
"""Indexes and open archives kept by a process: an archive of 25,000 members takes 4 MB."""


def archive_name(number: int) -> str:
    """File name of a pack's archive."""
    return f"pack-{number:05}.tar"


def index_path(archive: Path) -> Path:
    """Where the index of an archive lies: beside it."""
    return archive.with_suffix(".csv")


def is_archive(name: str) -> bool:
    """Tell whether a file is called as archives of packs are."""
    return _ARCHIVE_NAME.fullmatch(name) is not None


def split_path(path: str) -> tuple[str, str] | None:
    """Split the path of a packed picture into its archive's path and its name there; None for other paths."""
    if ".tar/" not in path:
        return None
    found = _PACKED.fullmatch(path)
    return (found["folder"] + found["archive"], found["member"]) if found else None


def plain_name(path: str) -> str:
    """Leave the archive out of a path: what the picture was called before it was packed."""
    if ".tar/" not in path:
        return path
    found = _PACKED.fullmatch(path)
    return found["folder"] + found["member"] if found else path


@dataclass(frozen=True)
class Entry:
    """Where a member lies in its archive."""

    offset: int
    """Byte of the archive where its content begins."""
    size: int
    """Bytes."""
    crc32: int
    """CRC-32 of its content."""


class Index:
    """The members of one archive."""

    def __init__(self, rows: list[tuple[str, int, int, int]]) -> None:
        rows.sort()
        self._names = [row[0] for row in rows]
        self._offsets = array("Q", (row[1] for row in rows))
        self._sizes = array("Q", (row[2] for row in rows))
        self._crcs = array("Q", (row[3] for row in rows))

    def find(self, name: str) -> Entry | None:
        """Look a member up."""
        at = bisect_left(self._names, name)
        if at == len(self._names) or self._names[at] != name:
            return None
        return Entry(self._offsets[at], self._sizes[at], self._crcs[at])


def read_index(content: bytes) -> Iterator[tuple[str, int, int, int]]:
    """Yield name, offset, size and CRC-32 of an index's rows, in their order.

    Raises:
        ValueError: it is no index.
    """
    rows = csv.reader(io.StringIO(content.decode("utf-8", "surrogateescape"), newline=""))
    if tuple(next(rows, ())) != HEADER:
        raise ValueError(f"expected the columns {', '.join(HEADER)}")
    for row in rows:
        name, offset, size, crc32 = row
        yield name, int(offset), int(size), int(crc32)


def read_bytes(path: str | Path) -> bytes:
    """Read a whole file, or a member of a pack, whose size and CRC-32 are proven.

    Raises:
        OSError: it is missing, cannot be read, or is not what was packed; `strerror` says which.
    """
    place = split_path(os.fspath(path))
    if place is None:
        return Path(path).read_bytes()
    archive, name = place
    try:
        entry = find_member(archive, name)
    except FileNotFoundError:
        if Path(archive).is_dir():  # It is only called like an archive.
            return Path(path).read_bytes()
        raise
    if entry is None:
        raise FileNotFoundError(errno.ENOENT, "no member of this name in the archive's index", str(path))
    return read_member(archive, entry)


def file_of(path: Path) -> Path:
    """Return the file that holds a picture: its archive, or the file itself."""
    place = split_path(str(path))
    return Path(place[0]) if place is not None and not path.exists() else path


def exists(path: str) -> bool:
    """Tell whether there is such a file, or such a member of a pack."""
    place = split_path(path)
    if place is None:
        return Path(path).exists()
    try:
        return find_member(*place) is not None
    except OSError:
        return Path(path).exists()


def find_member(archive: str, name: str) -> Entry | None:
    """Look a member up in an archive's index.

    Raises:
        OSError: the index is missing or damaged.
    """
    return _index(archive).find(name)


def read_member(archive: str, entry: Entry) -> bytes:
    """Read a member's content.

    Raises:
        OSError: the archive is missing, ends too early, or holds other bytes than were packed.
    """
    content = _pread(archive, entry)
    if len(content) < entry.size:
        found = os.fstat(_opened(archive).fileno()).st_size
        end = entry.offset + entry.size
        raise _damaged(archive, f"is cut off: it has {found:,} bytes, the tile ends at byte {end:,}")
    if zlib.crc32(content) != entry.crc32:
        raise _damaged(archive, "does not hold the bytes that were packed: their CRC-32 differs")
    return content


def _pread(archive: str, entry: Entry) -> bytes:
    # The file object is held here: one that is no longer kept is closed only when no thread reads from it.
    handle = _opened(archive)
    pieces, at, end = [], entry.offset, entry.offset + entry.size
    while at < end and (piece := os.pread(handle.fileno(), end - at, at)):
        pieces.append(piece)
        at += len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


@lru_cache(_KEPT)
def _opened(archive: str) -> io.FileIO:
    return io.FileIO(archive)


@lru_cache(_KEPT)
def _index(archive: str) -> Index:
    path = index_path(Path(archive))
    try:
        return Index(list(read_index(path.read_bytes())))
    except ValueError as error:
        raise OSError(errno.EIO, f"{path.name} is no index of an archive: {error}", str(path)) from None


def forget() -> None:
    """Read indexes and archives anew from now on: some were replaced."""
    _opened.cache_clear()
    _index.cache_clear()


def _damaged(archive: str, what: str) -> OSError:
    return OSError(errno.EIO, f"{os.path.basename(archive)} {what}", archive)


@dataclass(frozen=True)
class ArchiveFacts:
    """What `pack.json` says of one archive."""

    name: str
    size: int
    """Bytes of the archive."""
    members: int
    index: str
    """Digest of the index."""


def read_manifest(folder: Path) -> list[ArchiveFacts]:
    """Read what a pack consists of.

    Raises:
        InputError: `pack.json` is missing, damaged or of another version.
    """
    path = folder / MANIFEST
    try:
        told = json.loads(path.read_bytes())
        if told["schema_version"] != SCHEMA_VERSION:
            raise ValueError(f"its version is {told['schema_version']}")
        return [ArchiveFacts(**item) for item in told["archives"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a pack of version {SCHEMA_VERSION}: {error}") from error


def packed_names(folder: Path) -> Iterator[str]:
    """Yield the names of a pack's pictures, such as `pack-00000.tar/scene 1/tile.jpg`, in the order of its archives.

    Each archive's size and its index's digest are compared with `pack.json` first.

    Raises:
        InputError: an archive or index is missing, cut off or changed.
    """
    for facts in read_manifest(folder):
        for name, *_ in read_index(_checked_index(folder, facts)):
            yield f"{facts.name}/{name}"


def _checked_index(folder: Path, facts: ArchiveFacts) -> bytes:
    archive = folder / facts.name
    try:
        size = archive.stat().st_size
        content = index_path(archive).read_bytes()
    except OSError as error:
        what = f"{error.strerror or error}, though {MANIFEST} names it"
        raise _broken(Path(error.filename or archive), what) from error
    if size != facts.size:
        raise _broken(archive, f"it has {size:,} bytes, {MANIFEST} says {facts.size:,}: it was cut off or changed")
    if digest(content) != facts.index:
        raise _broken(index_path(archive), f"its content is not what {MANIFEST} says: it was cut off or changed")
    return content


def _broken(path: Path, what: str) -> InputError:
    return InputError(f"{path}: {what}. Copy the pack anew, or make it anew with `segbatch pack`.")


def is_pack(folder: Path) -> bool:
    """Tell whether a folder is a pack."""
    return (folder / MANIFEST).is_file()


def names_at(folder: str, entry: str) -> Iterator[str]:
    """Yield the names of a pack's pictures at one of its files, `pack.json`; nothing at any other file of any folder.

    Raises:
        InputError: the pack is damaged, or the file is an archive of a pack without `pack.json`.
    """
    if entry == MANIFEST:
        yield from packed_names(Path(folder))
    elif is_archive(entry) and not is_pack(Path(folder)):
        raise InputError(
            f"{folder}: archives of a pack without its {MANIFEST}, which is written last. "
            "Finish it with the same `segbatch pack` as before, or copy that file too."
        )

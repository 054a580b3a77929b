"""Making a pack of a folder: archive by archive, each kept if it is right already."""

from __future__ import annotations

import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from segbatch.errors import InputError, SegbatchError
from segbatch.runs import packs
from segbatch.runs.archives import tar_size, write_archive, write_manifest
from segbatch.runs.files import digest
from segbatch.runs.listing import find_files
from segbatch.runs.packs import MANIFEST, ArchiveFacts, Entry, archive_name, index_path, is_archive, plain_name

READERS = 16
"""Files read at once: what a network file system takes to answer is waited for in parallel."""
AHEAD_BYTES = 64 << 20
OVERHEAD = 1024
"""Bytes of an archive that a member takes beyond its content, about."""
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Packed:
    """What became of a folder."""

    tiles: int
    size: int
    """Bytes of the archives."""
    archives: int
    kept: int
    """Archives that an earlier, interrupted call had finished."""


@dataclass(frozen=True, slots=True)
class _File:
    name: str
    """Relative to the folder, as it is listed."""
    size: int
    changed: int
    """Nanoseconds since 1970; 0 for a file that is packed already."""


def pack_folder(source: Path, out: Path, *, size: int, progress: Progress = lambda done, total: None) -> Packed:
    """Pack the pictures below a folder.

    An interrupted call leaves whole archives, which the next one keeps where the pictures are still the same. The pack
    exists once `pack.json` does. Its bytes depend on names, contents and `size` alone. Names are held in memory: about
    300 MB a million.

    Args:
        source: the folder; packs in it are packed anew.
        out: folder of the pack; made if need be.
        size: bytes of an archive, at most, but for a single larger picture.
        progress: called with the pictures done and in all.

    Raises:
        InputError: there is nothing to pack, two pictures have one name, or `out` holds something else or is too small.
        SegbatchError: a picture cannot be read, or changed meanwhile.
    """
    _refuse_places(source, out)
    files = _stated(source, _names(source))
    parts = list(_cut(files, size))
    out.mkdir(parents=True, exist_ok=True)
    found: list[ArchiveFacts] = []
    kept = done = 0
    for number, part in enumerate(parts):
        path = out / archive_name(number)
        facts = _kept(path, part)
        kept += facts is not None
        if facts is None:
            _need_room(out, part)
            facts = write_archive(path, _contents(source, part, _Ticks(progress, done, len(files))))
        found.append(facts)
        done += len(part)
        progress(done, len(files))
    _remove_others(out, {facts.name for facts in found})
    write_manifest(out, found)
    return Packed(len(files), sum(facts.size for facts in found), len(found), kept)


@dataclass(frozen=True)
class _Ticks:
    """Tells of progress within an archive."""

    progress: Progress
    before: int
    total: int

    def __call__(self, done: int) -> None:
        self.progress(self.before + done, self.total)


def _refuse_places(source: Path, out: Path) -> None:
    if not source.is_dir():
        raise InputError(f"{source} is no folder. Expected the folder that holds the pictures.")
    inner, outer = out.resolve(), source.resolve()
    if inner == outer or outer in inner.parents:
        raise InputError(f"{out} lies in {source} itself, whose pictures it would double. Choose a folder elsewhere.")
    if (out / MANIFEST).exists():
        tiles = sum(facts.members for facts in packs.read_manifest(out))
        raise InputError(f"{out} holds a finished pack of {tiles:,} pictures already. Choose another folder.")
    if out.is_dir():
        strange = [name for name in sorted(os.listdir(out)) if not _ours(name)]
        if strange:
            raise InputError(f"{out} holds other files, such as {strange[0]!r}. Choose a folder of its own.")
    elif out.exists():
        raise InputError(f"{out} is no folder.")


def _ours(name: str) -> bool:
    """Tell whether an interrupted call may have left a file of this name."""
    stem, suffix = os.path.splitext(name)
    return (suffix in (".tar", ".csv") and is_archive(f"{stem}.tar")) or (stem.startswith(".pack") and suffix == ".tmp")


def _names(source: Path) -> list[str]:
    names = sorted(find_files(source), key=lambda name: (plain_name(name), name))
    if not names:
        raise InputError(f"no pictures in {source}.")
    for first, second in pairwise(names):
        if plain_name(first) == plain_name(second):
            raise InputError(f"{source}: {first} and {second} would have one name in the pack. Move one aside.")
    return names


def _stated(source: Path, names: Sequence[str]) -> list[_File]:
    def look(name: str) -> _File:
        path = source / name
        place = packs.split_path(str(path))
        if place is not None and packs.is_pack(Path(place[0]).parent):
            entry = packs.find_member(*place)
            return _File(name, entry.size if entry else 0, 0)
        status = path.stat()
        return _File(name, status.st_size, status.st_mtime_ns)

    with ThreadPoolExecutor(READERS) as pool:
        try:
            return list(pool.map(look, names, chunksize=256))
        except OSError as error:
            raise _unreadable(error) from error


def _cut(files: Sequence[_File], size: int) -> Iterator[list[_File]]:
    part: list[_File] = []
    taken = 0
    for file in files:
        needed = file.size + OVERHEAD
        if part and taken + needed > size:
            yield part
            part, taken = [], 0
        part.append(file)
        taken += needed
    yield part


def _kept(path: Path, part: Sequence[_File]) -> ArchiveFacts | None:
    """What an earlier call made, if it holds the same pictures of the same sizes, all older than itself."""
    try:
        status, index = path.stat(), index_path(path).read_bytes()
        rows = list(packs.read_index(index))
    except (OSError, ValueError):
        return None
    if [(name, size) for name, _, size, _ in rows] != [(plain_name(file.name), file.size) for file in part]:
        return None
    if status.st_size != tar_size(Entry(*rows[-1][1:])) or status.st_mtime_ns <= max(file.changed for file in part):
        return None
    return ArchiveFacts(path.name, status.st_size, len(rows), digest(index))


def _need_room(out: Path, part: Sequence[_File]) -> None:
    needed, free = sum(file.size + OVERHEAD for file in part), shutil.disk_usage(out).free
    if needed > free:
        raise InputError(
            f"{out}: the next archive needs {needed / 1e6:,.0f} MB, {free / 1e6:,.0f} MB are free. "
            "Make room, then give the same command again: what is packed stays."
        )


def _contents(source: Path, part: Sequence[_File], tick: Callable[[int], None]) -> Iterator[tuple[str, bytes]]:
    """Read pictures in order, several at once, so many ahead as `AHEAD_BYTES` hold."""

    def read(file: _File) -> bytes:
        content = packs.read_bytes(os.path.join(source, file.name))
        if len(content) != file.size:
            raise SegbatchError(f"{source / file.name} changed while it was packed. Pack again when it is at rest.")
        return content

    waiting: deque[tuple[_File, Future[bytes]]] = deque()
    ahead = done = 0
    coming = iter(part)
    with ThreadPoolExecutor(READERS) as pool:
        try:
            while True:
                while ahead < AHEAD_BYTES and len(waiting) < 8 * READERS and (file := next(coming, None)) is not None:
                    waiting.append((file, pool.submit(read, file)))
                    ahead += file.size
                if not waiting:
                    return
                file, future = waiting.popleft()
                yield plain_name(file.name), future.result()
                ahead -= file.size
                done += 1
                if done % 256 == 0:
                    tick(done)
        except OSError as error:
            raise _unreadable(error) from error
        finally:
            for _, future in waiting:
                future.cancel()


def _unreadable(error: OSError) -> SegbatchError:
    return SegbatchError(
        f"{error.filename}: {error.strerror or error}. A pack holds every picture: mend it or move it aside, then give "
        "the same command again."
    )


def _remove_others(out: Path, names: set[str]) -> None:
    """Remove what an interrupted call left that is no part of this pack."""
    for entry in list(out.iterdir()):
        if entry.with_suffix(".tar").name not in names and _ours(entry.name):
            entry.unlink()

"""Masks in archives: each attempt appends to one of its own, and the finishing task makes one pack of them all."""

from __future__ import annotations

import os
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

from segbatch.errors import SegbatchError
from segbatch.runs import packs
from segbatch.runs.archives import tar_member, write_archive, write_manifest
from segbatch.runs.files import digest
from segbatch.runs.journal import JournalRow, read_rejections
from segbatch.runs.listing import mask_name
from segbatch.runs.masks import ARCHIVE_TILES, FolderOutput, layout_of, read_mask
from segbatch.runs.outputs import checked_tiles
from segbatch.runs.packs import ArchiveFacts, archive_name, index_path
from segbatch.runs.run import Run
from segbatch.runs.sweep import Sweep
from segbatch.runs.tiles import Tile

Proven = tuple[int, Tile, JournalRow]


class ArchiveOutput:
    """Appends masks to the archive of one attempt, whose rows say where each lies; a kill tears at most its tail."""

    def __init__(self, run: Run, task: int, attempt: int) -> None:
        self.folder = run.paths.task(task).masks(attempt)
        self._key = f"{task}/{attempt}"
        self._lock = threading.Lock()
        self._descriptor = os.open(self.folder, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        self._end = os.fstat(self._descriptor).st_size

    def put(self, index: int, image: str, mask: bytes, probability: bytes | None = None) -> str:
        """Append a tile's mask; safe to call from several threads.

        Returns:
            What the journal needs to find it again: task, attempt and offset.
        """
        block, start = tar_member(mask_name(image), mask)
        with self._lock:
            offset = self._end + start
            pending = memoryview(block)
            while pending:
                written = os.write(self._descriptor, pending)
                self._end += written
                pending = pending[written:]
        return f"{self._key}/{offset}"

    def close(self) -> None:
        """Flush to disk and close."""
        os.fsync(self._descriptor)
        os.close(self._descriptor)


def open_output(run: Run, task: int, attempt: int) -> FolderOutput | ArchiveOutput:
    """Open what the masks of an attempt are written to."""
    return ArchiveOutput(run, task, attempt) if layout_of(run) == "tar" else FolderOutput(run)


def collect(run: Run, log: Callable[[str], None]) -> None:
    """Bring the masks of all attempts together as a pack, in the order of the tile list.

    Its bytes do not depend on tasks, attempts or the order in which they wrote. Archives that are right already stay.
    Called again it does what is left. While tiles are missing there is no `pack.json`.

    Raises:
        SegbatchError: a mask that was proven a moment before is gone.
    """
    if layout_of(run) != "tar" or not (attempts_archives(run) or _incomplete(run)):
        return
    packs.forget()
    folder = run.paths.masks
    folder.mkdir(exist_ok=True)
    (folder / packs.MANIFEST).unlink(missing_ok=True)
    rejections = Sweep(run, read_rejections)
    archives, missing, masks = [], 0, 0
    for number, group in groupby(checked_tiles(run), key=lambda item: item[0] // ARCHIVE_TILES):
        proven: list[Proven] = []
        for index, tile, row in group:
            if row is not None:
                proven.append((index, tile, row))
            else:
                missing += not rejections.at(index)
        facts = _archive(run, number, proven)
        archives += [facts] if facts is not None else []
        masks += len(proven)
    if not missing:
        write_manifest(folder, archives)
    log(f"{masks} masks in {len(archives)} archives: {folder}")


def discard(run: Run) -> None:
    """Remove the attempts' archives, of which the pack now holds all masks."""
    for path in attempts_archives(run):
        path.unlink(missing_ok=True)


def attempts_archives(run: Run) -> list[Path]:
    """The archives that attempts of tasks left."""
    return [path for task in run.tasks for path in run.paths.task(task).folder.glob("masks-*.tar")]


def _incomplete(run: Run) -> bool:
    return not packs.is_pack(run.paths.masks)


def _archive(run: Run, number: int, proven: Sequence[Proven]) -> ArchiveFacts | None:
    """Write one archive of the pack, unless it is there and right; None if there is nothing to hold."""
    path = run.paths.masks / archive_name(number)
    if not proven:
        index_path(path).unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        packs.forget()
        return None
    return _right(path, proven) or write_archive(path, _contents(run, proven))


def _contents(run: Run, proven: Sequence[Proven]) -> Iterator[tuple[str, bytes]]:
    for index, tile, row in proven:
        try:
            content = read_mask(run, index, tile, row)
            if zlib.crc32(content) != row.crc32:
                raise OSError("it is another one than was journalled")
        except OSError as error:
            message = f"the mask of {tile.name!r} has gone: {error}. Resume the run to make it anew."
            raise SegbatchError(message) from error
        yield mask_name(tile.image), content


def _right(path: Path, proven: Sequence[Proven]) -> ArchiveFacts | None:
    """Look at an archive that is there; None unless it holds these very masks, whole."""
    try:
        content = index_path(path).read_bytes()
        rows = list(packs.read_index(content))
        wanted = [(mask_name(tile.image), row.size, row.crc32) for _, tile, row in proven]
        if [(name, size, crc) for name, _, size, crc in rows] != wanted:
            return None
        for _, offset, size, crc in rows:
            packs.read_member(str(path), packs.Entry(offset, size, crc))
        return ArchiveFacts(path.name, path.stat().st_size, len(rows), digest(content))
    except (OSError, ValueError):
        return None

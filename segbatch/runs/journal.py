"""What a task has finished, tile by tile: a row is written after its mask is in place, and proves it."""

from __future__ import annotations

import csv
import io
import os
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from segbatch.runs.files import append_bytes, csv_line
from segbatch.runs.layout import TaskPaths

FIELDS = (7, 8)
"""Fields of a row, without and with a place."""
NO_TRUTH = "-"
"""In place of counts: the tile has no ground truth, as against one whose pixels are all ignored."""


@dataclass(frozen=True)
class JournalRow:
    """One finished tile."""

    index: int
    """Position in the run's tile list."""
    height: int
    """Pixels."""
    width: int
    """Pixels."""
    size: int
    """Bytes of the mask file."""
    crc32: int
    """CRC-32 of the mask file."""
    counts: str = NO_TRUTH
    """Pixels by true and predicted class, packed."""
    predicted: str = ""
    """Pixels by predicted class, packed."""
    place: str = ""
    """With `layout: tar`, where the attempt put the mask: task/attempt/offset."""


def _encode(row: JournalRow) -> bytes:
    place = f",{row.place}" if row.place else ""
    body = f"{row.index},{row.height},{row.width},{row.size},{row.crc32},{row.counts},{row.predicted}{place}"
    return f"{body},{zlib.crc32(body.encode()):08x}\n".encode()


def _decode(line: bytes) -> JournalRow | None:
    body, comma, check = line.rpartition(b",")
    if not comma or not check or check != b"%08x" % zlib.crc32(body):
        return None
    fields = body.decode().split(",")
    if len(fields) not in FIELDS:
        return None
    index, height, width, size, crc32 = map(int, fields[:5])
    return JournalRow(index, height, width, size, crc32, *fields[5:])


def claim_attempt(task: TaskPaths) -> int:
    """Take the next attempt's number by creating its journal; two claims never get the same one."""
    task.folder.mkdir(parents=True, exist_ok=True)
    attempt = max((number for number, _ in task.journals()), default=0) + 1
    while True:
        try:
            os.close(os.open(task.journal(attempt), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        except FileExistsError:
            attempt += 1
        else:
            return attempt


class JournalWriter:
    """Appends rows to one attempt's journal; each call is one write, so a kill tears at most the last line."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)

    def write(self, rows: Iterable[JournalRow]) -> None:
        """Append the rows; the masks they speak of are in place already."""
        pending = memoryview(b"".join(map(_encode, rows)))
        while pending:
            pending = pending[os.write(self._descriptor, pending) :]

    def close(self) -> None:
        """Flush to disk and close."""
        os.fsync(self._descriptor)
        os.close(self._descriptor)


def read_journal(path: Path, within: range | None = None) -> Iterator[JournalRow]:
    """Yield the whole rows of a journal, or those of some tiles; torn or damaged lines are only tiles to do again."""
    with path.open("rb") as handle:
        for line in handle:
            if within is not None and not _speaks_of(line, within):
                continue
            row = _decode(line[:-1]) if line.endswith(b"\n") else None
            if row is not None:
                yield row


def _speaks_of(line: bytes, tiles: range) -> bool:
    """Tell in passing whether a row is about one of the tiles: of a long journal, a task may need only a few."""
    index = line[: max(line.find(b","), 0)]
    return index.isdigit() and int(index) in tiles


def read_task(task: TaskPaths, within: range | None = None) -> dict[int, JournalRow]:
    """Return a task's finished tiles (or those within a range) by index, over all attempts; later attempts win."""
    rows: dict[int, JournalRow] = {}
    for _, path in task.journals():
        for row in read_journal(path, within):
            rows[row.index] = row
    return rows


class RejectionWriter:
    """Appends rejected tiles, with their reasons, to one attempt's list."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, index: int, tile: str, reason: str) -> None:
        """Append one tile."""
        append_bytes(self._path, csv_line((index, tile, reason)), durable=False)


def read_rejections(task: TaskPaths, within: range | None = None) -> dict[int, tuple[str, str]]:
    """Return index -> (tile, reason), of all tiles or those within a range, over all attempts; later attempts win.

    A torn last line is skipped.
    """
    found: dict[int, tuple[str, str]] = {}
    for attempt, _ in task.journals():
        path = task.rejected(attempt)
        if not path.exists():
            continue
        text = path.read_bytes().decode("utf-8", "surrogateescape")
        whole = text[: text.rfind("\n") + 1]
        for fields in csv.reader(io.StringIO(whole, newline="")):
            if len(fields) == 3 and fields[0].isdigit() and (within is None or int(fields[0]) in within):
                found[int(fields[0])] = (fields[1], fields[2])
    return found

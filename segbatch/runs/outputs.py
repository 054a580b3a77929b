"""What a run's tasks leave for each tile, and whether it is still what was journalled."""

from __future__ import annotations

import zlib
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from pathlib import Path

from segbatch.runs import packs
from segbatch.runs.journal import JournalRow, read_task
from segbatch.runs.marks import read_mark, read_vouched, withdraw
from segbatch.runs.masks import read_mask
from segbatch.runs.run import Run
from segbatch.runs.sweep import Sweep
from segbatch.runs.tiles import Tile, read_tiles

CHUNK = 4096
READERS = 8
PORTION = 32
"""Tiles that a reader takes at once: handing each over by itself would cost more than reading it."""


def fingerprint(run: Run, index: int, tile: Tile, row: JournalRow | None = None) -> tuple[int, int]:
    """Return size and CRC-32 of a tile's mask; when masks are evaluated, the CRC goes on over the truth.

    Args:
        run: the run.
        index: position of the tile in the run's list.
        tile: the tile.
        row: what is journalled of it, as `read_mask` takes it.

    Raises:
        OSError: a file cannot be read.
    """
    data = read_mask(run, index, tile, row)
    crc = zlib.crc32(data)
    if run.record.kind == "evaluate":
        crc = zlib.crc32(packs.read_bytes(Path(run.record.masks_root, tile.mask)), crc)
    return len(data), crc


def proven(run: Run, index: int, tile: Tile, rows: Sequence[JournalRow]) -> JournalRow | None:
    """Return the first of the journals' rows that speaks of the files as they are on disk; None if none does."""
    # Rows without a place all speak of the same file.
    found: dict[str, tuple[int, int] | None] = {}
    for row in rows:
        if row.place not in found:
            try:
                found[row.place] = fingerprint(run, index, tile, row)
            except OSError:
                found[row.place] = None
        if found[row.place] == (row.size, row.crc32):
            return row
    return None


def proofs(run: Run, tiles: range | None = None) -> Sweep[JournalRow]:
    """What the journals of all tasks say of the run's tiles, or of some."""
    return Sweep(run, read_task, tiles)


def checked_tiles(
    run: Run, task: int | None = None, rows: Sweep[JournalRow] | None = None, *, trust: bool = False
) -> Iterator[tuple[int, Tile, JournalRow | None]]:
    """Yield tiles in order, by index, each with a row that proves it, from whichever task's journal, or None.

    Args:
        run: a predict or evaluate run.
        task: whose tiles; all of the run's without.
        rows: where to look the rows up; read for this walk alone without.
        trust: take the journals' word for tiles that a task which ended by itself vouches for (see `marks`), without
            reading their files.
    """
    shard = None if task is None else run.shard(task)
    rows = rows or proofs(run, shard.indexes if shard else None)
    tiles = enumerate(read_tiles(run.paths.tiles, shard), shard.first if shard else 0)

    vouched = Sweep(run, read_vouched, shard.indexes if shard else None) if trust else None

    def trusted(index: int, found: Sequence[JournalRow]) -> bool:
        # Rows that differ are of attempts that made different masks: only the file tells which one it is.
        same = len({(row.size, row.crc32) for row in found}) == 1
        return vouched is not None and bool(vouched.at(index)) and same

    def check(told: Sequence[tuple[int, Tile, Sequence[JournalRow], bool]]) -> list[JournalRow | None]:
        return [found[0] if known else proven(run, index, tile, found) for index, tile, found, known in told]

    with ThreadPoolExecutor(READERS) as pool:
        while chunk := list(islice(tiles, CHUNK)):
            looked_up = [(index, tile, rows.at(index)) for index, tile in chunk]
            told = [(index, tile, found, trusted(index, found)) for index, tile, found in looked_up]
            checked = pool.map(check, (told[start : start + PORTION] for start in range(0, len(told), PORTION)))
            for (index, tile), row in zip(chunk, chain.from_iterable(checked), strict=True):
                yield index, tile, row


def missing_tiles(run: Run) -> Iterator[int]:
    """Yield the tiles of a run that are not done, by index, in order.

    Of tasks that vouch for all their tiles nothing more is read than their marks.
    """
    rows = proofs(run)
    for task in sorted(run.current_tasks, key=lambda task: run.shard(task).first):
        if not _vouches_for_all(run, task):
            yield from (index for index, _, row in checked_tiles(run, task, rows, trust=True) if row is None)


def unfinished(run: Run, tasks: Iterable[int] | None = None) -> Sequence[int]:
    """Return those of a run's current tasks (or of some) that are not complete, in ascending order.

    A task is complete when all its tiles are proven, or the bundle is in place; one with rejected tiles is not.
    """
    wanted = run.current_tasks if tasks is None else list(tasks)
    if run.record.kind == "train":
        done = (run.paths.model / "bundle.json").exists() and not run.paths.forced.exists()
        return [] if done else sorted(wanted)
    rows = proofs(run)
    in_order = sorted(wanted, key=lambda task: run.shard(task).first)
    return sorted(task for task in in_order if not _complete(run, task, rows))


def _complete(run: Run, task: int, rows: Sweep[JournalRow]) -> bool:
    if _vouches_for_all(run, task):
        return True
    return all(row is not None for _, _, row in checked_tiles(run, task, rows, trust=True))


def _vouches_for_all(run: Run, task: int) -> bool:
    mark = read_mark(run.paths.task(task))
    return mark is not None and not mark.missing and mark.tiles == run.shard(task).indexes


def verify_marks(run: Run) -> int:
    """Read every file of a run that tasks vouch for, and withdraw the marks of those that vouch for what is not there.

    Returns:
        Number of tiles that are not as they were vouched for.
    """
    marks = {task: mark for task in run.tasks if (mark := read_mark(run.paths.task(task))) is not None}
    if not marks:
        return 0
    vouched = Sweep(run, read_vouched)
    wrong = array("q", (index for index, _, row in checked_tiles(run) if row is None and vouched.at(index)))
    for task, mark in marks.items():
        if bisect_left(wrong, mark.tiles.stop) > bisect_left(wrong, mark.tiles.start):
            withdraw(run.paths.task(task))
    return len(wrong)

"""What a run's tasks leave for each tile, and whether it is still what was journalled."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from pathlib import Path

from segbatch.runs import packs
from segbatch.runs.journal import JournalRow, read_task
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
    run: Run, task: int | None = None, rows: Sweep[JournalRow] | None = None
) -> Iterator[tuple[int, Tile, JournalRow | None]]:
    """Yield tiles in order, by index, each with a row that proves it, from whichever task's journal, or None.

    Args:
        run: a predict or evaluate run.
        task: whose tiles; all of the run's without.
        rows: where to look the rows up; read for this walk alone without.
    """
    shard = None if task is None else run.shard(task)
    rows = rows or proofs(run, shard.indexes if shard else None)
    tiles = enumerate(read_tiles(run.paths.tiles, shard), shard.first if shard else 0)

    def check(told: Sequence[tuple[int, Tile, Sequence[JournalRow]]]) -> list[JournalRow | None]:
        return [proven(run, index, tile, found) for index, tile, found in told]

    with ThreadPoolExecutor(READERS) as pool:
        while chunk := list(islice(tiles, CHUNK)):
            told = [(index, tile, rows.at(index)) for index, tile in chunk]
            checked = pool.map(check, (told[start : start + PORTION] for start in range(0, len(told), PORTION)))
            for (index, tile), row in zip(chunk, chain.from_iterable(checked), strict=True):
                yield index, tile, row


def unfinished(run: Run, tasks: Iterable[int] | None = None) -> Sequence[int]:
    """Return those of a run's current tasks (or of some) that are not complete, in ascending order.

    A task is complete when all its tiles are proven, or the bundle is in place; one with rejected tiles is not.
    """
    wanted = run.current_tasks if tasks is None else tasks
    if run.record.kind == "train":
        done = (run.paths.model / "bundle.json").exists() and not run.paths.forced.exists()
        return [] if done else sorted(wanted)
    rows = proofs(run)
    in_order = sorted(wanted, key=lambda task: run.shard(task).first)
    return sorted(task for task in in_order if any(row is None for _, _, row in checked_tiles(run, task, rows)))

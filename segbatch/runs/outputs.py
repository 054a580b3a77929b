"""What a run's tasks leave for each tile, and whether it is still what was journalled."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from pathlib import Path

from segbatch.runs.journal import JournalRow, read_task
from segbatch.runs.listing import mask_name
from segbatch.runs.run import Run
from segbatch.runs.sweep import Sweep
from segbatch.runs.tiles import Tile, read_tiles

CHUNK = 4096
READERS = 8
PORTION = 32
"""Tiles that a reader takes at once: handing each over by itself would cost more than reading it."""


def mask_path(run: Run, tile: Tile) -> Path:
    """Where the mask of a tile lies: written by the run, or, when it evaluates, found there."""
    if run.record.kind == "evaluate":
        return Path(run.record.predictions_root, tile.prediction)
    return run.paths.masks / mask_name(tile.image)


def fingerprint(run: Run, tile: Tile) -> tuple[int, int]:
    """Return size and CRC-32 of a tile's mask; when masks are evaluated, the CRC goes on over the truth.

    Raises:
        OSError: a file cannot be read.
    """
    data = mask_path(run, tile).read_bytes()
    crc = zlib.crc32(data)
    if run.record.kind == "evaluate":
        crc = zlib.crc32(Path(run.record.masks_root, tile.mask).read_bytes(), crc)
    return len(data), crc


def proven(run: Run, tile: Tile, rows: Sequence[JournalRow]) -> JournalRow | None:
    """Return the first of the journals' rows that speaks of the files as they are on disk; None if none does."""
    if not rows:
        return None
    try:
        found = fingerprint(run, tile)
    except OSError:
        return None
    return next((row for row in rows if (row.size, row.crc32) == found), None)


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

    def check(told: Sequence[tuple[Tile, Sequence[JournalRow]]]) -> list[JournalRow | None]:
        return [proven(run, tile, found) for tile, found in told]

    with ThreadPoolExecutor(READERS) as pool:
        while chunk := list(islice(tiles, CHUNK)):
            told = [(tile, rows.at(index)) for index, tile in chunk]
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

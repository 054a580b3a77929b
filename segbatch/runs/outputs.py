"""What a run's tasks leave for each tile, and whether it is still what was journalled."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from segbatch.runs.journal import JournalRow, read_task
from segbatch.runs.listing import mask_name
from segbatch.runs.run import Run
from segbatch.runs.tiles import Tile, read_tiles

CHUNK = 4096
READERS = 8


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


def proven(run: Run, tile: Tile, row: JournalRow | None) -> bool:
    """Tell whether the files on disk are the ones that the journal's row speaks of."""
    try:
        return row is not None and fingerprint(run, tile) == (row.size, row.crc32)
    except OSError:
        return False


def checked_tiles(run: Run, task: int) -> Iterator[tuple[int, Tile, JournalRow | None]]:
    """Yield a task's tiles in order, by index, each with its row if that is proven and None otherwise."""
    rows, shard = read_task(run.paths.task(task)), run.shard(task)
    tiles = enumerate(read_tiles(run.paths.tiles, shard), shard.first)

    def check(item: tuple[int, Tile]) -> JournalRow | None:
        index, tile = item
        row = rows.get(index)
        return row if proven(run, tile, row) else None

    with ThreadPoolExecutor(READERS) as pool:
        while chunk := list(islice(tiles, CHUNK)):
            for (index, tile), row in zip(chunk, pool.map(check, chunk), strict=True):
                yield index, tile, row


def complete(run: Run, task: int) -> bool:
    """Tell whether a task has nothing left to do: all its tiles proven, or the bundle in place."""
    if run.record.kind == "train":
        return (run.paths.model / "bundle.json").exists()
    return all(row is not None for _, _, row in checked_tiles(run, task))


def unfinished(run: Run) -> Sequence[int]:
    """Return the tasks that are not complete, those with rejected tiles among them."""
    return [task for task in run.tasks if not complete(run, task)]

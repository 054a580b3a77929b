"""A predict task without a network: it writes made-up masks of a run's missing tiles until it is done or killed."""

from __future__ import annotations

import random
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from segbatch.runs.journal import JournalRow, JournalWriter, RejectionWriter, claim_attempt
from segbatch.runs.mask_archives import open_output
from segbatch.runs.outputs import checked_tiles
from segbatch.runs.run import open_run
from segbatch.runs.tiles import Tile

REJECTED = 13
"""Every so manieth tile has no mask."""


def mask_of(tile: Tile) -> bytes:
    """Bytes that depend on the tile alone, of very different lengths."""
    seed = zlib.crc32(tile.image.encode("utf-8", "surrogateescape"))
    return random.Random(seed).randbytes(seed % 3000)


def main(folder: Path, task: int) -> None:
    """Do what is missing of one task, from two threads in any order."""
    run = open_run(folder)
    attempt = claim_attempt(run.paths.task(task))
    missing = [(index, tile) for index, tile, row in checked_tiles(run, task) if row is None]
    random.shuffle(missing)
    journal, output = JournalWriter(run.paths.task(task).journal(attempt)), open_output(run, task, attempt)
    rejections = RejectionWriter(run.paths.task(task).rejected(attempt))

    def work(item: tuple[int, Tile]) -> None:
        index, tile = item
        if index % REJECTED == 0:
            rejections.write(index, tile.name, "made up")
            return
        mask = mask_of(tile)
        place = output.put(index, tile.image, mask, mask[:100] if run.job.predict.probabilities else None)  # type: ignore[union-attr]
        journal.write([JournalRow(index, 1, 1, len(mask), zlib.crc32(mask), predicted="", place=place)])

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, missing))
    output.close()
    journal.close()

"""The evaluate task: masks that exist are counted against ground truth, without a model."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from segbatch.errors import Exit, InputError, Interrupted, SegbatchError
from segbatch.evaluation.counts import class_pixels, confusion, pack
from segbatch.evaluation.read import read_pair
from segbatch.runs.journal import JournalRow, JournalWriter, RejectionWriter
from segbatch.runs.outputs import checked_tiles, fingerprint
from segbatch.runs.progress import TaskProgress
from segbatch.runs.run import Run
from segbatch.runs.tiles import Tile, read_tiles
from segbatch.spec.job import EvaluateJob

CHUNK = 64


def evaluate_task(run: Run, task: int, attempt: int, stop: Callable[[], bool], log: Callable[[str], None]) -> int:
    """Count what is missing of one shard; a tile that cannot be read is rejected by name.

    Raises:
        Interrupted: a signal came; all counted tiles are journalled.
    """
    job = run.job
    if not isinstance(job, EvaluateJob):
        raise InputError(f"{run.label} is no evaluate run")
    paths, shard = run.paths.task(task), run.shard(task)
    todo = array("q", (index for index, _, row in checked_tiles(run, task) if row is None))
    finished, rejected = shard.count - len(todo), 0
    log(f"{shard.count} tiles, {finished} done before")
    counter = _Counter(run, job)
    journal, rejections = JournalWriter(paths.journal(attempt)), RejectionWriter(paths.rejected(attempt))
    progress = TaskProgress(paths.progress, shard.count)
    with ThreadPoolExecutor(max(2, len(os.sched_getaffinity(0)))) as pool:
        for chunk in _chunks(_among(enumerate(read_tiles(run.paths.tiles, shard), shard.first), todo)):
            rows = []
            for (index, tile), outcome in zip(chunk, pool.map(counter, chunk), strict=True):
                if isinstance(outcome, JournalRow):
                    rows.append(outcome)
                else:
                    rejected += 1
                    rejections.write(index, tile.name, outcome)
                    log(f"rejected {tile.name!r}: {outcome}")
            journal.write(rows)
            finished += len(chunk)
            progress.update(finished, rejected=rejected)
            if stop() and finished < shard.count:
                progress.update(finished, rejected=rejected, force=True)
                raise Interrupted("stopped by a signal; what is done is kept, and resume continues after it")
    journal.close()
    progress.update(finished, note="done", rejected=rejected, force=True)
    return int(Exit.OK)


def _among(tiles: Iterator[tuple[int, Tile]], indexes: Sequence[int]) -> Iterator[tuple[int, Tile]]:
    """Yield the tiles of some ascending indexes."""
    wanted = iter(indexes)
    following = next(wanted, None)
    for index, tile in tiles:
        if index == following:
            yield index, tile
            following = next(wanted, None)


def _chunks(items: Iterator[tuple[int, Tile]]) -> Iterator[Sequence[tuple[int, Tile]]]:
    while chunk := list(islice(items, CHUNK)):
        yield chunk


class _Counter:
    """Turns one tile into its journal row, or into the reason why it cannot be counted."""

    def __init__(self, run: Run, job: EvaluateJob) -> None:
        self._run = run
        labels = run.record.labels
        values = job.data.predictions.values if job.data.predictions else "ids"
        self._truth = labels.raw_to_index()
        self._predicted = labels.id_to_index() if values == "ids" else labels.raw_to_index()
        self._classes = len(labels.scored)
        self._masks_root = Path(run.record.masks_root)
        self._predictions_root = Path(run.record.predictions_root)

    def __call__(self, item: tuple[int, Tile]) -> JournalRow | str:
        index, tile = item
        if not tile.prediction:
            return "no predicted mask of this name"
        try:
            return self._row(index, tile)
        except SegbatchError as error:
            return str(error)
        except OSError as error:
            return f"cannot be read: {error.strerror or error}"

    def _row(self, index: int, tile: Tile) -> JournalRow:
        path = self._predictions_root / tile.prediction
        truth, predicted = read_pair(self._masks_root / tile.mask, path, self._truth, self._predicted)
        size, crc32 = fingerprint(self._run, index, tile)
        counts = confusion(truth, predicted, self._classes)
        pixels = class_pixels(predicted, self._classes)
        height, width = truth.shape
        return JournalRow(index, height, width, size, crc32, pack(counts), pack(pixels))

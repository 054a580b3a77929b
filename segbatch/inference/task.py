"""The predict task: a shard of tiles in, masks and a journal out."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import tensorflow as tf

from segbatch.data.decode import ImageFormat
from segbatch.data.reasons import explain
from segbatch.data.tile_stream import TileStream
from segbatch.errors import Exit, InputError, Interrupted, TooManyRejectedError
from segbatch.inference.cleaning import Cleaning
from segbatch.inference.cold_start import ColdStart
from segbatch.inference.engines.choice import engine_of_run
from segbatch.inference.masks import MaskFormat, MaskWriters, ToWrite, Written
from segbatch.inference.prepare import bundle_of_run, cleaning_of, image_format, make_step
from segbatch.inference.step import Step
from segbatch.inference.windows import WindowStep
from segbatch.runs.cuts import batch_tiles
from segbatch.runs.journal import JournalWriter, RejectionWriter
from segbatch.runs.marks import vouch
from segbatch.runs.mask_archives import open_output
from segbatch.runs.measured import of_this_node
from segbatch.runs.outputs import checked_tiles
from segbatch.runs.progress import TaskProgress, read_progress
from segbatch.runs.run import Run
from segbatch.runs.staging import Roots, staged
from segbatch.runs.tiles import Tile, read_tiles
from segbatch.spec.bundle import BundleInfo, read_info
from segbatch.spec.engines import engine_version
from segbatch.spec.job import PredictJob

Log = Callable[[str], None]
Stop = Callable[[], bool]
Batches = Iterator[dict[str, tf.Tensor]]
LOG_EVERY_S = 30.0
WRITERS = 2
BATCHES_WAITING = 4
"""Computed batches that wait for a writer, at most, where there are no more writers."""


def predict_task(run: Run, task: int, attempt: int, stop: Stop, log: Log) -> int:
    """Predict what is missing of one shard.

    Raises:
        Interrupted: a signal came; all finished tiles are journalled.
        TooManyRejectedError: more tiles than `predict.max_rejected` could not be read.
        SegbatchError: the bundle changed, or masks cannot be written.
    """
    return PredictTask(run, task, attempt, stop, log).execute()


class PredictTask:
    """One attempt at one task.

    Args:
        run: a predict run.
        task: its number.
        attempt: number of the attempt.
        stop: tells whether to stop.
        log: takes a line.
    """

    def __init__(self, run: Run, task: int, attempt: int, stop: Stop, log: Log) -> None:
        job = run.job
        if not isinstance(job, PredictJob):
            raise InputError(f"{run.label} is no predict run")
        self._run, self._job, self._settings = run, job, job.predict
        self._stop, self._log = stop, log
        self._task = task
        self._paths = run.paths.task(task)
        self._attempt = attempt
        self._shard = run.shard(task)
        self._tiles = list(read_tiles(run.paths.tiles, self._shard))
        self._rejections = RejectionWriter(self._paths.rejected(attempt))
        record = run.record
        self._roots: Roots = (record.images_root, record.masks_root, record.labelled_root)
        self._rejected = 0
        self._refused: list[int] = []
        self._cleaning: Cleaning | None = None
        self._waiting = 0.0
        self._computing = 0.0
        self._started = time.perf_counter()
        self._measured = of_this_node(run.record.measured)
        self._before: Mapping[str, Any] = read_progress(self._paths.progress).get("spent", {})

    def execute(self) -> int:
        """Predict what is missing; see `predict_task`."""
        cold = ColdStart()
        cold.mark("imports")
        missing = self._missing()
        progress = TaskProgress(self._paths.progress, len(self._tiles))
        self._log(f"{len(self._tiles)} tiles, {len(self._tiles) - len(missing)} done before, {len(missing)} to do")
        if not missing:
            vouch(self._run, self._task, self._attempt)
            progress.update(len(self._tiles), note="done", force=True, rejected=0, spent=dict(self._before))
            return int(Exit.OK)
        cold.mark("tiles")
        with self._inputs(missing) as self._roots:
            step, batches, count = self._ready(missing, cold)
            self.predict(missing, step, batches, count, progress, cold)
        self._log(str(cold))
        return int(Exit.OK)

    def predict(
        self,
        missing: Collection[int],
        step: Step | WindowStep,
        batches: Batches,
        left: int,
        progress: TaskProgress,
        cold: ColdStart,
    ) -> None:
        """Predict tiles, and say how fast.

        Args:
            missing: positions in the shard.
            step: the step.
            batches: from `begin`.
            left: number of batches.
            progress: is kept up to date.
            cold: takes the time of the first mask.
        """
        done_before = len(self._tiles) - len(missing)
        self._started = time.perf_counter()
        with self._writers(cold) as writers:
            try:
                self._stream(missing, step, batches, left, writers, progress)
            finally:
                self._account(progress, writers, done_before, note="stopped")
        vouch(self._run, self._task, self._attempt, self._refused)
        self._account(progress, writers, done_before, note="done", start=cold.parts)
        self._log_speed(writers)

    def _ready(self, missing: Collection[int], cold: ColdStart) -> tuple[Step | WindowStep, Batches, int]:
        """Load the model and make the step, while the first batches are read."""
        path = Path(self._run.record.bundle)
        with ThreadPoolExecutor(1) as reader:
            ahead = reader.submit(self.begin, missing, read_info(path)) if path.is_dir() else None
            bundle = bundle_of_run(self._run, self._job)
            cold.mark("model")
            engine = engine_of_run(self._run, self._settings)
            step = make_step(
                bundle,
                self._settings,
                with_truth=bool(self._run.record.masks_root),
                engine=engine.engine,
                digest=self._run.record.digests["bundle"],
            )
            here = engine_version(engine.engine)
            self._log(f"model {bundle.path}, by {engine.engine} {here}")
            if here != engine.version:
                self._log(f"the run began with {engine.engine} {engine.version}: single pixels may differ")
            cold.mark("engine")
            stream, count = ahead.result() if ahead else self.begin(missing, bundle.info)
            cold.mark("wait for tiles")
        return step, stream, count

    def begin(self, missing: Collection[int], info: BundleInfo) -> tuple[Batches, int]:
        """Start reading.

        Returns:
            The batches, the first of them read already, and their number.
        """
        self._fmt = image_format(info)
        self._cleaning = cleaning_of(info, Path(self._run.record.bundle), self._settings)
        tiles = self._batches(*self._cut(missing), self._fmt)
        stream = iter(tiles)
        return chain([next(stream)], stream), len(tiles)

    def _missing(self) -> set[int]:
        """Positions in the shard whose masks are not proven: vouched for, or checked against the files themselves."""
        checked = checked_tiles(self._run, self._task, trust=True)
        return {index - self._shard.first for index, _, row in checked if row is None}

    def _inputs(self, missing: Collection[int]) -> AbstractContextManager[Roots]:
        """Folders to read what the batches hold from, maybe on the node's own disk."""
        _, batches = self._cut(missing)
        positions = (position for batch in batches for position in batch if position < len(self._tiles))
        return staged(self._run, (self._tiles[position] for position in positions), self._stop, self._log)

    @contextmanager
    def _writers(self, cold: ColdStart) -> Iterator[MaskWriters]:
        settings, labels = self._settings, self._run.record.labels
        journal = JournalWriter(self._paths.journal(self._attempt))
        output = open_output(self._run, self._task, self._attempt)
        written = Written(output, MaskFormat.of(labels, settings), len(labels.scored), self._cleaning)
        try:
            threads = settings.writers or (self._measured.writers if self._measured else WRITERS)
            waiting = max(BATCHES_WAITING, threads)
            with MaskWriters(written, journal, threads, waiting, lambda: cold.mark("first batch")) as writers:
                yield writers
        finally:
            output.close()
            journal.close()

    def _stream(
        self,
        missing: Collection[int],
        step: Step | WindowStep,
        batches: Batches,
        left: int,
        writers: MaskWriters,
        progress: TaskProgress,
    ) -> None:
        done_before = len(self._tiles) - len(missing)
        next_log = time.perf_counter() + LOG_EVERY_S
        begun = time.perf_counter()
        for batch in batches:
            self._waiting += time.perf_counter() - begun
            begun = time.perf_counter()
            self._one_batch(batch, step, missing, writers)
            self._computing += time.perf_counter() - begun
            left -= 1
            progress.update(
                done_before + writers.done + self._rejected, rejected=self._rejected, spent=dict(self._before)
            )
            if time.perf_counter() >= next_log:
                next_log += LOG_EVERY_S
                self._log(f"{done_before + writers.done + self._rejected} of {len(self._tiles)} tiles")
            if self._stop() and left:
                raise Interrupted("stopped by a signal; what is done is kept, and resume continues after it")
            begun = time.perf_counter()

    def _cut(self, missing: Collection[int]) -> tuple[int, list[range]]:
        """Batch size, and the batches that hold a missing tile, as ranges of positions in the shard.

        Slot i of batch k is always tile k * B + i of the shard; positions beyond its end are blank.
        """
        size = batch_tiles(self._job)
        numbers = sorted({position // size for position in missing})
        return size, [range(number * size, (number + 1) * size) for number in numbers]

    def _batches(self, batch_size: int, batches: list[range], fmt: ImageFormat) -> TileStream:
        settings, record = self._settings, self._run.record
        entries = [self._entry(position) for batch in batches for position in batch]
        table = record.labels.raw_to_index() if record.masks_root else None
        measured = self._measured.readers if self._measured else len(os.sched_getaffinity(0))
        return TileStream(
            entries,
            fmt,
            table,
            batch_size=batch_size,
            readers=settings.readers or measured,
            size=self._job.data.size,
        )

    def _entry(self, position: int) -> tuple[int, bytes, bytes]:
        if position >= len(self._tiles):
            return -1, b"", b""
        tile, (images, masks, _) = self._tiles[position], self._roots
        mask = os.fsencode(os.path.join(masks, tile.mask)) if masks and tile.mask else b""
        return position, os.fsencode(os.path.join(images, tile.image)), mask

    def _one_batch(
        self, batch: dict[str, tf.Tensor], step: Step | WindowStep, missing: Collection[int], writers: MaskWriters
    ) -> None:
        size = batch["size"].numpy()
        todo: list[ToWrite] = []
        for slot, position in enumerate(batch["index"].numpy().tolist()):
            if position not in missing:
                continue
            tile = self._tiles[position]
            if size[slot, 0]:
                todo.append(ToWrite(slot, self._shard.first + position, tile.image, bool(tile.mask)))
            else:
                self._reject(position, tile, self._fmt)
        if todo:
            writers.put(todo, step(batch["image"], size, batch["truth"]))

    def _reject(self, position: int, tile: Tile, fmt: ImageFormat) -> None:
        record = self._run.record
        image = Path(record.images_root, tile.image)
        mask = Path(record.masks_root, tile.mask) if record.masks_root and tile.mask else None
        table = record.labels.raw_to_index() if mask else None
        reason = explain(image, mask, fmt, table, self._job.data.size)
        self._rejections.write(self._shard.first + position, tile.name, reason)
        self._log(f"rejected {tile.name!r}: {reason}")
        self._rejected += 1
        self._refused.append(self._shard.first + position)
        if self._rejected > self._allowed():
            raise TooManyRejectedError(
                f"{self._rejected} tiles could not be read, more than predict.max_rejected: "
                f"{self._settings.max_rejected} allows; the last one was {tile.name!r}: {reason}"
            )

    def _allowed(self) -> float:
        """Number of tiles that the task may leave out; of a cut, no fewer than of a task as submitted.

        A cut may bring the bad tiles of a large shard together in a small one.
        """
        limit, shards = self._settings.max_rejected, self._run.record.shards
        if limit is None or isinstance(limit, int):
            return math.inf if limit is None else limit
        submitted = self._task < len(shards)
        return limit * (len(self._tiles) if submitted else max(len(self._tiles), shards[0][1]))

    def _account(
        self, progress: TaskProgress, writers: MaskWriters, done_before: int, note: str, **figures: Any
    ) -> None:
        """Write what was done and what it cost, earlier attempts included."""
        stages = {"wait for tiles": self._waiting, "step": self._computing, **writers.seconds}
        now = {"tiles": writers.done, "megapixels": writers.pixels / 1e6, "seconds": self._seconds(), **stages}
        spent = {key: round(self._before.get(key, 0) + value, 3) for key, value in now.items()}
        done = done_before + writers.done + self._rejected
        progress.update(done, note=note, force=True, rejected=self._rejected, spent=spent, **figures)

    def _seconds(self) -> float:
        return time.perf_counter() - self._started

    def _log_speed(self, writers: MaskWriters) -> None:
        seconds = self._seconds()
        self._log(
            f"{writers.done} masks in {seconds:.1f} s: {writers.done / seconds:.1f} tiles/s, "
            f"{writers.pixels / 1e6 / seconds:.2f} megapixels/s; {self._rejected} rejected"
        )

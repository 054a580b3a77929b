"""The predict task: a shard of tiles in, masks and a journal out."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import tensorflow as tf

from segbatch.data.decode import ImageFormat
from segbatch.data.reasons import explain
from segbatch.data.streams import tile_stream
from segbatch.errors import Exit, InputError, Interrupted, SegbatchError, TooManyRejectedError
from segbatch.inference.masks import MaskFormat, MaskWriters, Written
from segbatch.inference.predictor import cleaning_of, predictor_of
from segbatch.inference.step import Step, no_truth
from segbatch.inference.windows import WindowStep
from segbatch.models.bundle import Bundle, load_bundle
from segbatch.runs.bundles import bundle_digest
from segbatch.runs.cuts import batch_tiles
from segbatch.runs.journal import JournalWriter, RejectionWriter
from segbatch.runs.outputs import checked_tiles
from segbatch.runs.progress import TaskProgress, read_progress
from segbatch.runs.run import Run
from segbatch.runs.tiles import Tile, read_tiles
from segbatch.spec.job import PredictJob

Log = Callable[[str], None]
Stop = Callable[[], bool]
LOG_EVERY_S = 30.0


def predict_task(run: Run, task: int, attempt: int, stop: Stop, log: Log) -> int:
    """Predict what is missing of one shard.

    Raises:
        Interrupted: a signal came; all finished tiles are journalled.
        TooManyRejectedError: more tiles than `predict.max_rejected` could not be read.
        SegbatchError: the bundle changed, or masks cannot be written.
    """
    return _PredictTask(run, task, attempt, stop, log).execute()


class _PredictTask:
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
        self._rejected = 0
        self._waiting = 0.0
        self._computing = 0.0
        self._started = time.perf_counter()
        self._before: Mapping[str, Any] = read_progress(self._paths.progress).get("spent", {})

    def execute(self) -> int:
        missing = self._missing()
        progress = TaskProgress(self._paths.progress, len(self._tiles))
        self._log(f"{len(self._tiles)} tiles, {len(self._tiles) - len(missing)} done before, {len(missing)} to do")
        started = time.perf_counter()
        if not missing:
            progress.update(len(self._tiles), note="done", force=True, rejected=0, spent=dict(self._before))
            return int(Exit.OK)
        bundle = self._bundle()
        self._log(f"model loaded from {bundle.path} in {time.perf_counter() - started:.1f} s")
        self._started = time.perf_counter()
        step = predictor_of(bundle, self._settings, with_truth=bool(self._run.record.masks_root))
        with self._writers(bundle) as writers:
            try:
                self._stream(missing, step, bundle, writers, progress)
            finally:
                self._account(progress, writers, len(self._tiles) - len(missing), note="stopped")
        self._account(progress, writers, len(self._tiles) - len(missing), note="done")
        self._log_speed(writers)
        return int(Exit.OK)

    def _missing(self) -> set[int]:
        """Positions in the shard whose masks are not proven, checked against the files themselves."""
        checked = checked_tiles(self._run, self._task)
        return {index - self._shard.first for index, _, row in checked if row is None}

    def _bundle(self) -> Bundle:
        path = Path(self._run.record.bundle)
        if bundle_digest(path) != self._run.record.digests["bundle"]:
            raise SegbatchError(
                f"{path}: the model has changed since the run was submitted. Masks of two models must not mix: "
                "submit a new run, or put the old model back."
            )
        model = self._job.model
        return load_bundle(path, labels=self._job.labels, normalize=model.normalize, output=model.output)

    @contextmanager
    def _writers(self, bundle: Bundle) -> Iterator[MaskWriters]:
        settings, paths = self._settings, self._run.paths
        journal = JournalWriter(self._paths.journal(self._attempt))
        written = Written(
            paths.masks,
            paths.probabilities if settings.probabilities else None,
            MaskFormat.of(self._run.record.labels, settings),
            cleaning_of(bundle, settings),
        )
        try:
            with MaskWriters(written, journal, settings.writers, 4 * settings.batch_size) as writers:
                yield writers
        finally:
            journal.close()

    def _stream(
        self, missing: set[int], step: Step | WindowStep, bundle: Bundle, writers: MaskWriters, progress: TaskProgress
    ) -> None:
        done_before = len(self._tiles) - len(missing)
        next_log = time.perf_counter() + LOG_EVERY_S
        batch_size, batches = self._cut(missing)
        left = len(batches)
        begun = time.perf_counter()
        for batch in self._batches(batch_size, batches, bundle):
            self._waiting += time.perf_counter() - begun
            begun = time.perf_counter()
            self._one_batch(batch, step, bundle, missing, writers)
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

    def _cut(self, missing: set[int]) -> tuple[int, list[range]]:
        """Batch size, and the batches that hold a missing tile, as ranges of positions in the shard.

        Slot i of batch k is always tile k * B + i of the shard; positions beyond its end are blank.
        """
        size = batch_tiles(self._job)
        numbers = sorted({position // size for position in missing})
        return size, [range(number * size, (number + 1) * size) for number in numbers]

    def _batches(self, batch_size: int, batches: list[range], bundle: Bundle) -> Iterator[dict[str, tf.Tensor]]:
        settings, record = self._settings, self._run.record
        entries = [self._entry(position) for batch in batches for position in batch]
        table = record.labels.raw_to_index() if record.masks_root else None
        yield from tile_stream(
            entries,
            image_format(bundle),
            table,
            batch_size=batch_size,
            readers=settings.readers or len(os.sched_getaffinity(0)),
            size=self._job.data.size,
        )

    def _entry(self, position: int) -> tuple[int, bytes, bytes]:
        if position >= len(self._tiles):
            return -1, b"", b""
        tile, record = self._tiles[position], self._run.record
        mask = os.fsencode(os.path.join(record.masks_root, tile.mask)) if record.masks_root and tile.mask else b""
        return position, os.fsencode(os.path.join(record.images_root, tile.image)), mask

    def _one_batch(
        self,
        batch: dict[str, tf.Tensor],
        step: Step | WindowStep,
        bundle: Bundle,
        missing: set[int],
        writers: MaskWriters,
    ) -> None:
        truth = batch.get("truth")
        results = step(batch["image"], batch["size"].numpy(), no_truth(batch["image"]) if truth is None else truth)
        for position, result in zip(batch["index"].numpy().tolist(), results, strict=True):
            if position not in missing:
                continue
            tile = self._tiles[position]
            if result is None:
                self._reject(position, tile, image_format(bundle))
            else:
                # In a run with ground truth, a tile without any has no counts.
                scored = result if tile.mask else replace(result, counts=None, truth=None)
                writers.put(self._shard.first + position, tile.image, scored)

    def _reject(self, position: int, tile: Tile, fmt: ImageFormat) -> None:
        record = self._run.record
        image = Path(record.images_root, tile.image)
        mask = Path(record.masks_root, tile.mask) if record.masks_root and tile.mask else None
        table = record.labels.raw_to_index() if mask else None
        reason = explain(image, mask, fmt, table, self._job.data.size)
        self._rejections.write(self._shard.first + position, tile.name, reason)
        self._log(f"rejected {tile.name!r}: {reason}")
        self._rejected += 1
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

    def _account(self, progress: TaskProgress, writers: MaskWriters, done_before: int, note: str) -> None:
        """Write what was done and what it cost, earlier attempts included."""
        stages = {"wait for tiles": self._waiting, "step": self._computing, **writers.seconds}
        now = {"tiles": writers.done, "megapixels": writers.pixels / 1e6, "seconds": self._seconds(), **stages}
        spent = {key: round(self._before.get(key, 0) + value, 3) for key, value in now.items()}
        done = done_before + writers.done + self._rejected
        progress.update(done, note=note, force=True, rejected=self._rejected, spent=spent)

    def _seconds(self) -> float:
        return time.perf_counter() - self._started

    def _log_speed(self, writers: MaskWriters) -> None:
        seconds = self._seconds()
        self._log(
            f"{writers.done} masks in {seconds:.1f} s: {writers.done / seconds:.1f} tiles/s, "
            f"{writers.pixels / 1e6 / seconds:.2f} megapixels/s; {self._rejected} rejected"
        )


def image_format(bundle: Bundle) -> ImageFormat:
    """How images must be decoded for a bundle."""
    return ImageFormat(bundle.info.bands, bundle.info.depth, bundle.info.decode)

"""Each stage of predicting timed alone, and the whole, on this machine and a job's own tiles."""

from __future__ import annotations

import itertools
import math
import os
import subprocess
import sys
import time
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import tensorflow as tf

from segbatch.data.tile_stream import TileStream
from segbatch.errors import InputError, SegbatchError
from segbatch.evaluation.counts import pack
from segbatch.inference.cold_start import ColdStart
from segbatch.inference.masks import MaskFormat, Written
from segbatch.inference.prepare import bundle_of_job, cleaning_of, image_format, make_step
from segbatch.inference.results import TileResult
from segbatch.inference.step import Step
from segbatch.inference.task import BATCHES_WAITING, WRITERS, PredictTask
from segbatch.inference.windows import WindowStep
from segbatch.runs.bundles import bundle_digest
from segbatch.runs.creation import create_run
from segbatch.runs.files import write_bytes
from segbatch.runs.journal import NO_TRUTH, JournalRow, JournalWriter
from segbatch.runs.plan import Plan
from segbatch.runs.progress import TaskProgress, read_progress
from segbatch.spec.inference import Predict
from segbatch.spec.job import PredictJob

Results = Sequence[TileResult | None]
"""Of one batch, by slot."""
HELD_BATCHES = 4
"""Batches kept in memory for timing the step."""


@dataclass(frozen=True)
class Timed:
    """One stage, over some tiles."""

    tiles: int
    seconds: float
    """Wall clock."""
    cpu: float
    """Processor seconds of this process, all threads."""

    @property
    def rate(self) -> float:
        """Tiles a second."""
        return self.tiles / self.seconds

    @property
    def cpu_rate(self) -> float:
        """Tiles a processor second."""
        return self.tiles / max(self.cpu, 1e-9)

    def __add__(self, other: Timed) -> Timed:
        """Both, one after the other."""
        return Timed(self.tiles + other.tiles, self.seconds + other.seconds, self.cpu + other.cpu)


class Stages:
    """The stages of a predict job over some of its tiles.

    Args:
        plan: of a predict job.
        tiles: number of tiles, from the beginning of the list; there must be one batch of readable ones.
        folder: for what is written; the disk that masks will go to.

    Raises:
        InputError: none of the tiles can be read.
    """

    def __init__(self, plan: Plan, tiles: int, folder: Path) -> None:
        assert isinstance(plan.job, PredictJob)
        assert plan.bundle is not None
        self.job, self.settings, self._plan, self._folder = plan.job, plan.job.predict, plan, folder
        self.bundle = bundle_of_job(plan.bundle, plan.job)
        self.digest = bundle_digest(plan.bundle)
        self._tiles = list(itertools.islice(itertools.cycle(plan.tiles), tiles))
        self._root, self._masks_root = plan.images_root, plan.masks_root
        self._runs = itertools.count()
        self.readers = self.settings.readers or len(os.sched_getaffinity(0))
        self.writers = self.settings.writers or WRITERS

    def with_batch(self, batch_size: int) -> Stages:
        """The same with another batch size."""
        other = self.with_settings(self.settings.model_copy(update={"batch_size": batch_size}))
        other.__dict__.pop("_held", None)
        return other

    def with_settings(self, settings: Predict) -> Stages:
        """The same with other settings of the same batch size."""
        other = copy(self)
        other.settings = settings
        return other

    def step_by(self, engine: str) -> Step | WindowStep:
        """Make the job's step with an engine."""
        with_truth = bool(self._masks_root)
        return make_step(self.bundle, self.settings, with_truth=with_truth, engine=engine, digest=self.digest)

    def read(self) -> Timed:
        """Read the files, one after the other."""
        paths = [path for tile in self._tiles for path in self._paths(tile.image, tile.mask) if path]

        def run() -> None:
            for path in paths:
                Path(os.fsdecode(path)).read_bytes()

        return timed(len(self._tiles), run)

    def data(self) -> Timed:
        """Read and decode, as the task does, from its second batch on.

        Making the graph and reading the first batch belong to a task's start, where the model is loaded meanwhile.
        """
        stream = iter(self._stream(self._batch, self.readers))
        count = len(self._tiles) - self._batch
        if count > 0:
            next(stream)

        def run() -> None:
            for _ in stream:
                pass

        return timed(count if count > 0 else len(self._tiles), run)

    def step(self, step: Step | WindowStep, batches: int = HELD_BATCHES) -> Timed:
        """Compute batches that are in memory already."""
        held = self._held

        def run() -> None:
            # As in the task: the step waits while enough batches are being computed.
            waiting: deque[Results] = deque()
            for number in range(batches):
                batch = held[number % len(held)]
                waiting.append(step(batch["image"], batch["size"].numpy(), batch["truth"]))
                if len(waiting) > BATCHES_WAITING:
                    _ = waiting.popleft()[0]
            for results in waiting:
                _ = results[0]

        return timed(batches * self._batch, run)

    def encode(self, batches: Sequence[Results]) -> Timed:
        """Bring masks to their tiles' size, count and encode them, by as many threads as the task has."""
        written, tiles = self._written(self._folder), _tiles_of(batches)

        def run(numbers: range) -> None:
            for number in numbers:
                batch, slot = tiles[number % len(tiles)]
                if (result := batch[slot]) is not None:
                    written.encode(written.clean(result))

        return self._shared(run)

    def write(self, batches: Sequence[Results]) -> Timed:
        """Write encoded masks to their place and journal them, by as many threads as the task has."""
        written, folder = self._written(self._folder), self._folder / f"written-{next(self._runs)}"
        folder.mkdir(parents=True)
        encoded = [written.encode(written.clean(result)) for result in self.results(batches)]
        journal = JournalWriter(folder / "journal.csv")

        def run(numbers: range) -> None:
            for first in range(numbers.start, numbers.stop, self._batch):
                rows = []
                for number in range(first, min(first + self._batch, numbers.stop)):
                    files = encoded[number % len(encoded)]
                    write_bytes(folder / f"{number}.png", files.mask, durable=False)
                    told = pack(files.counts) if files.counts is not None else NO_TRUTH
                    crc = zlib.crc32(files.mask)
                    rows.append(JournalRow(number, 0, 0, len(files.mask), crc, told, pack(files.predicted)))
                journal.write(rows)

        try:
            return self._shared(run)
        finally:
            journal.close()

    def _shared(self, run: Callable[[range], None]) -> Timed:
        """Time something done for all tiles by the task's writers, each a share.

        A single one would look cheaper than it is in the task: processors that share a core slow each other down.
        """
        count, threads = len(self._tiles), self.writers
        shares = [range(number * count // threads, (number + 1) * count // threads) for number in range(threads)]
        with ThreadPoolExecutor(threads) as pool:
            return timed(count, lambda: list(pool.map(run, shares)))

    def cold_start(self) -> dict[str, float]:
        """Start a task of one batch as a process of its own; seconds of each part until its first mask."""
        plan = replace(
            self._plan,
            tiles=self._tiles[: self._batch],
            shard_size=self._batch,
            runs_root=self._folder / f"start-{next(self._runs)}",
        )
        run = create_run(plan)
        command = [sys.executable, "-m", "segbatch.worker", str(run.paths.folder), "--task", "0"]
        ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if ended.returncode:
            raise SegbatchError(f"a task of one batch failed:\n{ended.stdout[-2000:]}")
        parts: dict[str, float] = read_progress(run.paths.task(0).progress)["start"]
        return parts

    def whole(self, step: Step | WindowStep) -> Timed:
        """Predict all tiles as a task does, to the journal, once its step is ready and its first batch was read."""
        tiles = self._tiles[: len(self._plan.tiles)]
        size = math.ceil(len(tiles) / self._batch) * self._batch
        plan = replace(self._plan, tiles=tiles, shard_size=size, runs_root=self._folder / f"whole-{next(self._runs)}")
        task = PredictTask(create_run(plan), 0, 1, lambda: False, lambda line: None)
        progress = TaskProgress(self._folder / "progress.json", len(tiles))
        missing = range(len(tiles))

        stream, left = task.begin(missing, self.bundle.info)

        def run() -> None:
            task.predict(missing, step, stream, left, progress, ColdStart())

        return timed(len(tiles), run)

    def batches(self, step: Step | WindowStep) -> list[Results]:
        """Predict the tiles in memory."""
        found: list[Results] = [step(batch["image"], batch["size"].numpy(), batch["truth"]) for batch in self._held]
        if not _tiles_of(found):
            raise InputError("none of the first tiles can be read; `segbatch check JOB --full` says why.")
        return found

    @staticmethod
    def results(batches: Sequence[Results]) -> list[TileResult]:
        """Bring masks to their tiles' size."""
        return [result for batch in batches for result in batch if result is not None]

    @property
    def megapixels(self) -> float:
        """Of one tile, on average over those in memory."""
        sizes = np.concatenate([batch["size"].numpy() for batch in self._held]).astype(np.int64)
        return float(sizes.prod(axis=1).sum() / max((sizes[:, 0] > 0).sum(), 1) / 1e6)

    @property
    def _batch(self) -> int:
        return self.settings.batch_size if self.settings.fit == "resize" else 1

    @cached_property
    def _held(self) -> list[dict[str, tf.Tensor]]:
        return list(itertools.islice(self._stream(self._batch, self.readers), HELD_BATCHES))

    def _stream(self, batch_size: int, readers: int) -> TileStream:
        slots = [(number, *self._paths(tile.image, tile.mask)) for number, tile in enumerate(self._tiles)]
        slots += [(-1, b"", b"")] * (-len(slots) % batch_size)
        table = self._plan.labels.raw_to_index() if self._masks_root else None
        fmt = image_format(self.bundle.info)
        return TileStream(slots, fmt, table, batch_size=batch_size, readers=readers, size=self.job.data.size)

    def _paths(self, image: str, mask: str) -> tuple[bytes, bytes]:
        truth = os.path.join(self._masks_root, mask) if self._masks_root and mask else ""
        return os.fsencode(os.path.join(self._root, image)), os.fsencode(truth)

    def _written(self, folder: Path) -> Written:
        labels = self._plan.labels
        cleaning = cleaning_of(self.bundle.info, self.bundle.path, self.settings)
        return Written(_Aside(folder), MaskFormat.of(labels, self.settings), len(labels.scored), cleaning)


@dataclass
class _Aside:
    """Masks by number in a folder that nobody looks at."""

    folder: Path

    def put(self, index: int, image: str, mask: bytes, probability: bytes | None = None) -> str:
        write_bytes(self.folder / f"{index}.png", mask, durable=False)
        return ""

    def close(self) -> None:
        pass


def _tiles_of(batches: Sequence[Results]) -> list[tuple[Results, int]]:
    """Slots that hold a tile; looking at one waits for its batch."""
    return [(batch, slot) for batch in batches for slot in range(len(batch)) if batch[slot] is not None]


def timed(tiles: int, run: Callable[[], object]) -> Timed:
    """Time one call."""
    cpu, begun = time.process_time(), time.perf_counter()
    run()
    return Timed(tiles, time.perf_counter() - begun, time.process_time() - cpu)


def differing(first: Sequence[TileResult], second: Sequence[TileResult]) -> float:
    """Share of pixels whose class is not the same."""
    pixels = sum(result.mask.size for result in first)
    return sum(int((one.mask != two.mask).sum()) for one, two in zip(first, second, strict=True)) / max(pixels, 1)

"""Writing masks: encode, put in place by rename, then journal; in threads, behind a bounded queue."""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Protocol

import numpy as np

from segbatch.errors import SegbatchError
from segbatch.evaluation.counts import Counts, class_pixels, pack, tally
from segbatch.inference.backlog import Backlog
from segbatch.inference.cleaning import Cleaning
from segbatch.inference.png import encode_mask
from segbatch.inference.results import TileResult
from segbatch.runs.journal import NO_TRUTH, JournalRow, JournalWriter
from segbatch.spec.inference import Predict
from segbatch.spec.labels import Labels


@dataclass(frozen=True)
class MaskFormat:
    """How class indices become a PNG."""

    values: np.ndarray | None
    """uint8 [256]: value to write for each class index; None where it is the index."""
    palette: bytes | None
    """RGB triples by written value; None for a grey PNG."""

    @classmethod
    def of(cls, labels: Labels, settings: Predict) -> MaskFormat:
        """Take what the job asks for."""
        values = labels.index_to_written(settings.values)
        written = np.zeros(256, np.uint8)
        written[: len(values)] = np.frombuffer(values, np.uint8)
        same = values == bytes(range(len(values)))
        palette = labels.palette(settings.values)[: 3 * (max(values) + 1)] if settings.palette else None
        return cls(None if same else written, palette)

    def encode(self, mask: np.ndarray) -> bytes:
        """Encode class indices, uint8 [H, W], as PNG."""
        return encode_mask(mask if self.values is None else self.values.take(mask), self.palette)


@dataclass(frozen=True)
class ToWrite:
    """One tile of a batch."""

    slot: int
    """Its place in the batch."""
    index: int
    """Its position in the run's tile list."""
    tile: str
    """Its image, relative to the root of the images."""
    scored: bool
    """It has ground truth."""


@dataclass(frozen=True)
class Encoded:
    """One tile, ready to be written."""

    mask: bytes
    """PNG."""
    probability: bytes | None
    """PNG."""
    counts: Counts | None
    """int64 [C, C + 1]: pixels by true and predicted class; None without ground truth."""
    predicted: Counts
    """int64 [C]: pixels by predicted class."""


class Output(Protocol):
    """Where a task's masks go."""

    @property
    def folder(self) -> Path:
        """Folder or file that messages name."""

    def put(self, index: int, image: str, mask: bytes, probability: bytes | None = None) -> str:
        """Put a tile's files in place, from any thread; returns what its journal row needs to find the mask again."""

    def close(self) -> None:
        """Nothing more comes."""


@dataclass(frozen=True)
class Written:
    """Place and format of one task's output."""

    output: Output
    format: MaskFormat
    classes: int
    """Number of classes that are counted."""
    cleaning: Cleaning | None = None
    """What happens to masks before they are counted and encoded; None for nothing."""

    def clean(self, result: TileResult) -> TileResult:
        """Do to a mask what the job asks for, before it is counted."""
        return result if self.cleaning is None else replace(result, mask=self.cleaning(result.mask))

    def encode(self, result: TileResult) -> Encoded:
        """Count the pixels of one tile and encode its files."""
        if result.truth is None:
            counts, predicted = None, class_pixels(result.mask, self.classes)
        else:
            counts, predicted = tally(result.truth, result.mask, self.classes)
        probability = None if result.probability is None else encode_mask(result.probability)
        return Encoded(self.format.encode(result.mask), probability, counts, predicted)


class MaskWriters:
    """Threads that write masks and journal them, a batch each at a time; `put` blocks while they are behind.

    Used as a context manager: leaving it waits until all is written. `after_mask` is called by these threads whenever a
    mask is in place.

    Raises:
        SegbatchError: from `put` or on leaving, if a mask could not be written.
    """

    def __init__(
        self,
        written: Written,
        journal: JournalWriter,
        threads: int,
        capacity: int,
        after_mask: Callable[[], None] = lambda: None,
    ) -> None:
        self._written = written
        self._after_mask = after_mask
        self._journal = journal
        self._journal_lock = threading.Lock()
        self._backlog: Backlog[tuple[Sequence[ToWrite], Sequence[TileResult | None]]] = Backlog(capacity, threads)
        self._error: BaseException | None = None
        stages = ("wait for step", *(("clean",) if written.cleaning else ()), "encode", "write")
        self.seconds = dict.fromkeys(stages, 0.0)
        self.done = 0
        self.pixels = 0
        self._threads = [threading.Thread(target=self._work, args=[n], name=f"writer-{n}") for n in range(threads)]

    def __enter__(self) -> MaskWriters:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._backlog.close()
        for thread in self._threads:
            thread.join()
        if kind is None:
            self._complain()

    def put(self, tiles: Sequence[ToWrite], results: Sequence[TileResult | None]) -> None:
        """Hand over those tiles of a batch that are to be written; their results are asked for by the writer."""
        self._complain()
        self._backlog.put((tiles, results))

    def _complain(self) -> None:
        if self._error is not None and not isinstance(self._error, OSError):
            raise self._error
        if self._error is not None:
            where = self._error.filename or self._written.output.folder
            raise SegbatchError(
                f"cannot write {where}: {self._error.strerror}. "
                "What is written is safe; mend this, then resume the run."
            ) from self._error

    def _work(self, rank: int) -> None:
        while (item := self._backlog.get(rank)) is not None:
            # After a failure the backlog is only emptied, so that `put` never waits for ever.
            if self._error is None:
                try:
                    self._write(*item)
                except BaseException as error:  # a thread that dies would leave `put` waiting for ever
                    self._error = error

    def _write(self, tiles: Sequence[ToWrite], results: Sequence[TileResult | None]) -> None:
        spent = dict.fromkeys(self.seconds, 0.0)
        rows: list[JournalRow] = []
        try:
            for tile in tiles:
                begun = time.perf_counter()
                result = results[tile.slot]
                spent["wait for step"] += time.perf_counter() - begun
                if result is not None:
                    rows.append(self._one(tile, result, spent))
        finally:
            # One write a batch, after the masks that it speaks of, also where a later one failed.
            with self._journal_lock:
                self._journal.write(rows)
                self.done += len(rows)
                self.pixels += sum(row.height * row.width for row in rows)
                for stage, seconds in spent.items():
                    self.seconds[stage] += seconds

    def _one(self, tile: ToWrite, result: TileResult, spent: dict[str, float]) -> JournalRow:
        received = time.perf_counter()
        result = self._written.clean(result)
        begun = time.perf_counter()
        files = self._written.encode(result)
        encoded = time.perf_counter()
        place = self._written.output.put(tile.index, tile.tile, files.mask, files.probability)
        self._after_mask()
        if self._written.cleaning is not None:
            spent["clean"] += begun - received
        spent["encode"] += encoded - begun
        spent["write"] += time.perf_counter() - encoded
        height, width = result.mask.shape
        told = pack(files.counts) if files.counts is not None and tile.scored else NO_TRUTH
        return JournalRow(
            tile.index, height, width, len(files.mask), zlib.crc32(files.mask), told, pack(files.predicted), place
        )

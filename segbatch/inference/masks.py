"""Writing masks: encode, put in place by rename, then journal; in threads, behind a bounded queue."""

from __future__ import annotations

import io
import queue
import threading
import time
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

import numpy as np
from PIL import Image

from segbatch.errors import SegbatchError
from segbatch.evaluation.counts import class_pixels, confusion, pack
from segbatch.inference.cleaning import Cleaning
from segbatch.inference.step import TileResult
from segbatch.runs.files import write_bytes
from segbatch.runs.journal import NO_TRUTH, JournalRow, JournalWriter
from segbatch.runs.listing import mask_name
from segbatch.spec.inference import Predict
from segbatch.spec.labels import Labels

COMPRESSION = 1
"""zlib level: label images shrink little more at higher ones, at twice the time."""


@dataclass(frozen=True)
class MaskFormat:
    """How class indices become a PNG."""

    values: np.ndarray
    """uint8 [256]: value to write for each class index."""
    palette: bytes | None
    """RGB triples by written value; None for a grey PNG."""

    @classmethod
    def of(cls, labels: Labels, settings: Predict) -> MaskFormat:
        """Take what the job asks for."""
        written = np.zeros(256, np.uint8)
        values = labels.index_to_written(settings.values)
        written[: len(values)] = np.frombuffer(values, np.uint8)
        return cls(written, labels.palette(settings.values) if settings.palette else None)

    def encode(self, mask: np.ndarray) -> bytes:
        """Encode class indices, uint8 [H, W], as PNG."""
        picture = Image.fromarray(self.values[mask])
        if self.palette is not None:
            picture = picture.convert("L")
            picture.putpalette(self.palette)
        return encode_png(picture)


def cleaned(result: TileResult, cleaning: Cleaning) -> TileResult:
    """Clean a mask, and count what comes out: against the truth, where the result has any."""
    mask, classes = cleaning(result.mask), len(result.predicted)
    counts = None if result.truth is None else confusion(result.truth, mask, classes)
    return replace(result, mask=mask, counts=counts, truth=None, predicted=class_pixels(mask, classes))


def encode_png(picture: Image.Image) -> bytes:
    """Encode a picture as PNG, fast."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=COMPRESSION)
    return buffer.getvalue()


@dataclass(frozen=True)
class Written:
    """Folders and formats of one task's output."""

    masks: Path
    probabilities: Path | None
    format: MaskFormat
    cleaning: Cleaning | None = None
    """What happens to masks before they are encoded; None for nothing."""


class MaskWriters:
    """Threads that write masks and journal them; `put` blocks while they are behind.

    Used as a context manager: leaving it waits until all is written.

    Raises:
        SegbatchError: from `put` or on leaving, if a mask could not be written.
    """

    def __init__(self, written: Written, journal: JournalWriter, threads: int, capacity: int) -> None:
        self._written = written
        self._journal = journal
        self._journal_lock = threading.Lock()
        self._queue: queue.Queue[tuple[int, str, TileResult] | None] = queue.Queue(capacity)
        self._error: BaseException | None = None
        self._folders: set[Path] = set()
        self.seconds = ({"clean": 0.0} if written.cleaning else {}) | {"encode": 0.0, "write": 0.0}
        self.done = 0
        self.pixels = 0
        self._threads = [threading.Thread(target=self._work, name=f"writer-{n}") for n in range(threads)]

    def __enter__(self) -> MaskWriters:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()
        if kind is None:
            self._complain()

    def put(self, index: int, tile: str, result: TileResult) -> None:
        """Hand over one tile."""
        self._complain()
        self._queue.put((index, tile, result))

    def _complain(self) -> None:
        if self._error is not None and not isinstance(self._error, OSError):
            raise self._error
        if self._error is not None:
            where = self._error.filename or self._written.masks
            raise SegbatchError(
                f"cannot write {where}: {self._error.strerror}. "
                "What is written is safe; mend this, then resume the run."
            ) from self._error

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            # After a failure the queue is only emptied, so that `put` never waits for ever.
            if self._error is None:
                try:
                    self._write(*item)
                except BaseException as error:  # a thread that dies would leave `put` waiting for ever
                    self._error = error

    def _write(self, index: int, tile: str, result: TileResult) -> None:
        received = time.perf_counter()
        if self._written.cleaning is not None:
            result = cleaned(result, self._written.cleaning)
        begun = time.perf_counter()
        data = self._written.format.encode(result.mask)
        probability = None if result.probability is None else encode_png(Image.fromarray(result.probability))
        encoded = time.perf_counter()
        name = mask_name(tile)
        if probability is not None and self._written.probabilities is not None:
            self._place(self._written.probabilities / name, probability)
        self._place(self._written.masks / name, data)
        height, width = result.mask.shape
        row = JournalRow(
            index,
            height,
            width,
            len(data),
            zlib.crc32(data),
            NO_TRUTH if result.counts is None else pack(result.counts),
            pack(result.predicted),
        )
        with self._journal_lock:
            self._journal.write([row])
            self.done += 1
            self.pixels += height * width
            if self._written.cleaning is not None:
                self.seconds["clean"] += begun - received
            self.seconds["encode"] += encoded - begun
            self.seconds["write"] += time.perf_counter() - encoded

    def _place(self, path: Path, data: bytes) -> None:
        if path.parent not in self._folders:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._folders.add(path.parent)
        # Not flushed to disk one by one, which would quarter the speed: a mask that a dying node lost no longer has
        # the size and CRC of its journal row, and is made again.
        write_bytes(path, data, durable=False)

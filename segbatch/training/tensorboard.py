"""A training's figures for TensorBoard: an event file for each part, to which every epoch is added.

The format is TensorFlow's own (tensorflow/core/util/event.proto, records as in TFRecord files), so writing it needs no
further package.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import tensorflow as tf
from tensorflow.core.framework.summary_pb2 import Summary
from tensorflow.core.util.event_pb2 import Event

from segbatch.training.metrics import METRICS, Figures
from segbatch.training.state import EpochRecord, EpochTime

FOLDER = "tensorboard"
TAGS = {"loss": "loss", "accuracy": "accuracy", "iou": "mean IoU", "dice": "mean Dice"}
_VERSION = "brain.Event:2"


class EventLog:
    """Event files in `<folder>/train` and `<folder>/val`; `tensorboard --logdir <folder>` follows them.

    An attempt begins its own files, with what earlier ones learned at their head, and takes the earlier files away: no
    epoch is shown twice.

    Args:
        folder: made if it is missing.
        names: of the classes.
        history: epochs finished before.
        times: how long they took.
    """

    def __init__(
        self, folder: Path, names: Sequence[str], history: Sequence[EpochRecord], times: Sequence[EpochTime]
    ) -> None:
        self._folder, self._names = folder, names
        self._old = sorted(folder.glob("*/events.out.tfevents.*"))
        self._started = time.time()
        self._writers: dict[str, tf.io.TFRecordWriter] = {}
        ends = list(accumulate(item.train_s + item.val_s for item in times))
        for record, end in zip(history, ends, strict=True):
            self._write(record, self._started - ends[-1] + end)
        for path in self._old:
            path.unlink(missing_ok=True)

    def add(self, record: EpochRecord) -> None:
        """Add a finished epoch."""
        self._write(record, time.time())

    def close(self) -> None:
        """Write what is left."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def _write(self, record: EpochRecord, now: float) -> None:
        values = _overall(record.train) | {"learning rate": record.learning_rate}
        self._event("train", record.epoch, values, now)
        if record.val is not None:
            by_class = zip(self._names, record.val.class_iou, strict=True)
            values = _overall(record.val) | {f"IoU of {name}": value for name, value in by_class}
            self._event("val", record.epoch, values, now)

    def _event(self, part: str, step: int, values: dict[str, float | None], now: float) -> None:
        known = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items() if value is not None]
        writer = self._writer(part)
        writer.write(Event(wall_time=now, step=step, summary=Summary(value=known)).SerializeToString())
        writer.flush()

    def _writer(self, part: str) -> tf.io.TFRecordWriter:
        if part not in self._writers:
            path = self._folder / part / f"events.out.tfevents.{self._started:.6f}.segbatch"
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writers[part] = tf.io.TFRecordWriter(str(path))
            self._writers[part].write(Event(wall_time=self._started, file_version=_VERSION).SerializeToString())
        return self._writers[part]


def _overall(figures: Figures) -> dict[str, float | None]:
    return {TAGS[metric]: figures.value(metric) for metric in METRICS}

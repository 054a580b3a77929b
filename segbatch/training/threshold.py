"""The threshold of a binary head, chosen on the validation part: the one of highest IoU of the second class."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from segbatch.data.normalize import normalization_of
from segbatch.errors import Interrupted
from segbatch.evaluation.scores import Scores
from segbatch.models.decision import logit
from segbatch.spec.bundle import BestThreshold, BundleInfo
from segbatch.training.feed import Feed
from segbatch.training.tables import write_table

LEVELS = 1024
"""Thresholds are k / LEVELS, for k from 1 to LEVELS - 1."""
HALF = LEVELS // 2
CURVE_FILE = "thresholds.csv"
_HEADER = ("threshold", "tp", "fp", "fn", "IoU", "Dice", "precision", "recall")


@dataclass(frozen=True)
class Curve:
    """Pixels by true class and level of their probability; curves of parts of the data add up."""

    pixels: NDArray[np.int64]
    """[2, LEVELS]: pixels of a true class whose probability reaches k / LEVELS, but not (k + 1) / LEVELS."""

    def scores(self, level: int) -> Scores:
        """Scores of the mask that takes pixels from probability `level` / LEVELS on for the second class."""
        (tn, fn), (fp, tp) = (half.sum(axis=1).tolist() for half in (self.pixels[:, :level], self.pixels[:, level:]))
        return Scores((tn, tp), (fn, fp), (fp, fn))

    def best(self) -> BestThreshold:
        """The threshold of highest IoU of the second class; of several, the one nearest to 0.5, then the lower one."""
        nearest_first = sorted(range(1, LEVELS), key=lambda level: (abs(level - HALF), level))
        ious = {level: self.scores(level).iou[1] for level in nearest_first}
        level = max(nearest_first, key=lambda level: -1.0 if (iou := ious[level]) is None else iou)
        scores = self.scores(level)
        return BestThreshold(
            threshold=level / LEVELS,
            iou=ious[level],
            iou_at_half=ious[HALF],
            tp=scores.tp[1],
            fp=scores.fp[1],
            fn=scores.fn[1],
        )

    def write(self, path: Path) -> None:
        """Write the scores of the second class at every threshold as a table."""
        write_table(path, _HEADER, self._rows())

    def _rows(self) -> Iterator[tuple[float | None, ...]]:
        for level in range(1, LEVELS):
            found = self.scores(level)
            shares = (found.iou[1], found.dice[1], found.precision[1], found.recall[1])
            yield level / LEVELS, found.tp[1], found.fp[1], found.fn[1], *shares


def measure_curve(
    model: keras.Model,
    info: BundleInfo,
    mean_image: NDArray[np.floating] | None,
    feed: Feed,
    stop: Callable[[], bool],
) -> Curve:
    """Look at all of a part's tiles once, at the network's resolution.

    Levels are told apart by the logits, as predicting does, so the counts are exactly those of its masks.

    Args:
        model: with a binary head that gives logits.
        info: how images are normalised.
        mean_image: [h, w, bands] where they are normalised by it.
        feed: the part; tiles that cannot be read are left out, as training has said before.
        stop: asked after every batch whether to stop there.

    Raises:
        Interrupted: `stop` said so.
    """
    normalize = normalization_of(info, mean_image)
    limits = tf.constant([logit(level / LEVELS) for level in range(1, LEVELS)], tf.float32)
    image = tf.TensorSpec(model.input_shape, tf.float32)
    truth = tf.TensorSpec(model.input_shape[:3], tf.uint8)

    def counted(image: tf.Tensor, truth: tf.Tensor) -> tf.Tensor:
        scores = tf.cast(model(normalize(image), training=False), tf.float32)
        level = tf.searchsorted(limits, tf.reshape(scores, [-1]), side="right")
        true = tf.cast(tf.reshape(truth, [-1]), tf.int32)
        # Ignored pixels go to an extra bin beyond the table.
        cell = tf.where(true < 2, true * LEVELS + level, 2 * LEVELS)
        return tf.math.bincount(cell, minlength=2 * LEVELS + 1, maxlength=2 * LEVELS + 1)[:-1]

    count = tf.function(counted, input_signature=[image, truth], autograph=False)
    pixels = np.zeros(2 * LEVELS, np.int64)
    for batch in replace(feed, share=None).batches(0, 0, lambda part, indices: None):
        pixels += count(batch.image, batch.truth).numpy()
        if stop():
            raise Interrupted("Stopped while choosing the threshold; `segbatch resume` begins with that again.")
    return Curve(pixels.reshape(2, LEVELS))

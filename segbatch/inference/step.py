"""The compiled step of predicting: pixels in, class indices and counts out, in one graph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from segbatch.data.normalize import normalization_of
from segbatch.data.resize import resize_image, resize_mask
from segbatch.models.bundle import Bundle
from segbatch.models.decision import confusion, decide, probabilities
from segbatch.spec.labels import IGNORED


@dataclass(frozen=True)
class TileResult:
    """What the step says of one tile."""

    mask: np.ndarray
    """uint8 [H, W]: class indices."""
    probability: np.ndarray | None
    """uint8 [H, W]: probability of the second class (binary head) or of the chosen one, times 255."""
    counts: np.ndarray | None
    """int64 [C, C + 1]: pixels by true and predicted class; None without ground truth."""
    predicted: np.ndarray
    """int64 [C]: pixels by predicted class."""


class Step:
    """Predicts fixed-size batches of tiles.

    Tiles of one size go through a single graph. A batch whose tiles differ in size is brought to the network's size
    tile by tile, passes the network as one batch, and is brought back tile by tile; which way a batch goes depends on
    its own tiles alone, so a resumed task computes the same.

    Args:
        bundle: model and what belongs to it.
        threshold: binary head: probability from which a pixel is the second class.
        batch_size: number B of slots in every batch.
        with_truth: count pixels against ground truth.
        with_probability: also give probabilities.
    """

    def __init__(
        self, bundle: Bundle, *, threshold: float, batch_size: int, with_truth: bool, with_probability: bool
    ) -> None:
        self._bundle = bundle
        self._normalize = normalization_of(bundle.info, bundle.mean_image)
        self._threshold = threshold
        self._batch_size = batch_size
        self._with_truth = with_truth
        self._with_probability = with_probability
        self._classes = len(bundle.info.labels.scored)
        bands = bundle.info.bands
        pixel = tf.uint8 if bundle.info.depth == 8 else tf.uint16
        images = tf.TensorSpec([batch_size, None, None, bands], pixel)
        truths = tf.TensorSpec([batch_size, None, None], tf.uint8)
        height, width = bundle.info.input
        fitted = tf.TensorSpec([batch_size, height, width, bands], tf.float32)
        self._fused = tf.function(self._all, input_signature=[images, truths])
        self._fit = tf.function(self._to_input, input_signature=[tf.TensorSpec([None, None, None, bands], pixel)])
        self._network = tf.function(self._scores, input_signature=[fitted])
        channels = tf.TensorSpec([1, None, None, None], tf.float32)
        one_truth = tf.TensorSpec([1, None, None], tf.uint8)
        # With a signature, since a graph for every size of a mixed archive would cost time and memory without bound.
        self._finish = tf.function(self._to_tiles, input_signature=[channels, tf.TensorSpec([2], tf.int32), one_truth])

    def __call__(self, image: tf.Tensor, size: np.ndarray, truth: tf.Tensor) -> list[TileResult | None]:
        """Predict one batch.

        Args:
            image: uint8 or uint16 [B, H, W, bands], zero beyond a tile's own size.
            size: int32 [B, 2]: height and width of each tile; 0, 0 marks an empty slot.
            truth: uint8 [B, H, W]: class indices, 255 where ignored or beyond the tile.

        Returns:
            One result a slot; None for empty slots.
        """
        filled = [slot for slot in range(self._batch_size) if size[slot, 0] > 0]
        if not filled:
            return [None] * self._batch_size
        if all(tuple(size[slot]) == tuple(image.shape[1:3]) for slot in filled):
            outcome = [part.numpy() for part in self._fused(image, truth)]
            return [self._result(outcome, slot) if size[slot, 0] else None for slot in range(self._batch_size)]
        return self._mixed(image, size, truth, filled)

    def _result(self, outcome: list[np.ndarray], slot: int) -> TileResult:
        mask, probability, counts, predicted = (part[slot] for part in outcome)
        return TileResult(
            mask,
            probability if self._with_probability else None,
            counts if self._with_truth else None,
            predicted.astype(np.int64),
        )

    def _mixed(
        self, image: tf.Tensor, size: np.ndarray, truth: tf.Tensor, filled: list[int]
    ) -> list[TileResult | None]:
        height, width = self._bundle.info.input
        fitted = np.zeros((self._batch_size, height, width, self._bundle.info.bands), np.float32)
        for slot in filled:
            rows, columns = size[slot]
            fitted[slot] = self._fit(image[slot : slot + 1, :rows, :columns]).numpy()[0]
        scores = self._network(fitted)
        results: list[TileResult | None] = [None] * self._batch_size
        for slot in filled:
            rows, columns = (int(side) for side in size[slot])
            part = self._finish(
                scores[slot : slot + 1], tf.constant([rows, columns]), truth[slot : slot + 1, :rows, :columns]
            )
            results[slot] = self._result([value.numpy() for value in part], 0)
        return results

    def _all(self, image: tf.Tensor, truth: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return self._to_tiles(self._scores(self._to_input(image)), tf.shape(image)[1:3], truth)

    def _to_input(self, image: tf.Tensor) -> tf.Tensor:
        info = self._bundle.info
        return self._normalize(resize_image(image, info.input, info.resize))

    def _scores(self, fitted: tf.Tensor) -> tf.Tensor:
        return tf.cast(self._bundle.model(fitted, training=False), tf.float32)

    def _to_tiles(self, scores: tf.Tensor, size: tf.Tensor, truth: tf.Tensor) -> tuple[tf.Tensor, ...]:
        info = self._bundle.info
        small = decide(scores, info.head, info.output, self._threshold)
        mask = resize_mask(small, size)
        counts = self._per_tile(truth, mask) if self._with_truth else tf.zeros([tf.shape(mask)[0]], tf.int64)
        chosen = self._per_tile(tf.zeros_like(mask), mask)[:, 0, : self._classes]
        return mask, self._probability(scores, size), counts, chosen

    def _per_tile(self, truth: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        rows = [confusion(one, two, self._classes) for one, two in zip(*self._unstacked(truth, mask), strict=True)]
        return tf.stack(rows)

    def _unstacked(self, *batches: tf.Tensor) -> list[list[tf.Tensor]]:
        count = batches[0].shape[0] or 1
        return [tf.unstack(batch, num=count) for batch in batches]

    def _probability(self, scores: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
        if not self._with_probability:
            return tf.zeros([tf.shape(scores)[0]], tf.uint8)
        values = probabilities(scores, self._bundle.info.head, self._bundle.info.output)
        best = tf.reduce_max(values, axis=-1, keepdims=True)
        large = tf.image.resize(best, size, method="bilinear")[..., 0]
        return tf.cast(tf.round(large * 255.0), tf.uint8)


def no_truth(image: tf.Tensor) -> tf.Tensor:
    """Return ground truth that says nothing: uint8 [B, H, W], all ignored."""
    return tf.fill(tf.shape(image)[:3], tf.constant(IGNORED, tf.uint8))

"""The compiled step of predicting: pixels in, class indices and counts out, in one graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from segbatch.data.normalize import normalization_of
from segbatch.data.resize import resize_image, resize_mask
from segbatch.inference.views import View, averaged, views_of
from segbatch.models.bundle import Bundle
from segbatch.models.decision import Output, confusion, decide, probabilities
from segbatch.spec.labels import IGNORED
from segbatch.spec.mask_rules import MaskRules


@dataclass(frozen=True)
class TileResult:
    """What the step says of one tile."""

    mask: np.ndarray
    """uint8 [H, W]: class indices."""
    probability: np.ndarray | None
    """uint8 or uint16 [H, W]: probability of the second class (binary head) or of the chosen one, times 255 (65535)."""
    counts: np.ndarray | None
    """int64 [C, C + 1]: pixels by true and predicted class; None without ground truth."""
    predicted: np.ndarray
    """int64 [C]: pixels by predicted class."""
    truth: np.ndarray | None = None
    """uint8 [H, W]: ground truth, for a mask that will be counted once it is final; 255 where ignored."""


PLAIN = views_of(())
"""The one view of a tile as it is."""


class Step:
    """Predicts fixed-size batches of tiles.

    Tiles of one size go through a single graph. A batch whose tiles differ in size is brought to the network's size
    tile by tile, passes the network as one batch, and is brought back tile by tile; which way a batch goes depends on
    its own tiles alone, so a resumed task computes the same.

    Args:
        bundle: model and what belongs to it.
        rules: how scores become a mask.
        batch_size: number B of slots in every batch.
        with_truth: count pixels against ground truth; of masks that are still to be cleaned, keep the truth instead.
        probability_bits: 8 or 16 to give probabilities too, 0 for none.
        views: whose probabilities are averaged.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        rules: MaskRules,
        batch_size: int,
        with_truth: bool,
        probability_bits: int = 0,
        views: Sequence[View] = PLAIN,
    ) -> None:
        self._bundle = bundle
        self._normalize = normalization_of(bundle.info, bundle.mean_image)
        self._rules = rules
        self._batch_size = batch_size
        self._with_truth = with_truth and not rules.cleaning
        self._keep_truth = with_truth and rules.cleaning
        self._bits = probability_bits
        self._views = views
        self._output: Output = bundle.info.output if len(views) == 1 else "probabilities"
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
            kept = truth.numpy() if self._keep_truth else None
            return [self._result(outcome, slot, kept) if size[slot, 0] else None for slot in range(self._batch_size)]
        return self._mixed(image, size, truth, filled)

    def _result(self, outcome: list[np.ndarray], slot: int, truth: np.ndarray | None) -> TileResult:
        mask, probability, counts, predicted = (part[slot] for part in outcome)
        return TileResult(
            mask,
            probability if self._bits else None,
            counts if self._with_truth else None,
            predicted.astype(np.int64),
            None if truth is None else truth[slot],
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
            own = truth[slot : slot + 1, :rows, :columns]
            part = self._finish(scores[slot : slot + 1], tf.constant([rows, columns]), own)
            results[slot] = self._result(
                [value.numpy() for value in part], 0, own.numpy() if self._keep_truth else None
            )
        return results

    def _all(self, image: tf.Tensor, truth: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return self._to_tiles(self._scores(self._to_input(image)), tf.shape(image)[1:3], truth)

    def _to_input(self, image: tf.Tensor) -> tf.Tensor:
        info = self._bundle.info
        return self._normalize(resize_image(image, info.input, info.resize))

    def _scores(self, fitted: tf.Tensor) -> tf.Tensor:
        """float32 [B, h, w, channels], of the kind that `_output` says."""
        if len(self._views) == 1:
            return self._network_scores(fitted)
        return averaged(self._network_probabilities, fitted, self._views)

    def _network_probabilities(self, fitted: tf.Tensor) -> tf.Tensor:
        return probabilities(self._network_scores(fitted), self._bundle.info.head, self._bundle.info.output)

    def _network_scores(self, fitted: tf.Tensor) -> tf.Tensor:
        return tf.cast(self._bundle.model(fitted, training=False), tf.float32)

    def _to_tiles(self, scores: tf.Tensor, size: tf.Tensor, truth: tf.Tensor) -> tuple[tf.Tensor, ...]:
        small = decide(scores, self._bundle.info.head, self._output, self._rules.threshold, self._rules.thresholds)
        mask = resize_mask(small, size)
        counts = self._per_tile(truth, mask) if self._with_truth else tf.zeros([tf.shape(mask)[0]], tf.int64)
        chosen = self._per_tile(tf.zeros_like(mask), mask)[:, 0, : self._classes]
        return mask, self._probability(scores, small, size), counts, chosen

    def _per_tile(self, truth: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        rows = [confusion(one, two, self._classes) for one, two in zip(*self._unstacked(truth, mask), strict=True)]
        return tf.stack(rows)

    def _unstacked(self, *batches: tf.Tensor) -> list[list[tf.Tensor]]:
        count = batches[0].shape[0] or 1
        return [tf.unstack(batch, num=count) for batch in batches]

    def _probability(self, scores: tf.Tensor, chosen: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
        if not self._bits:
            return tf.zeros([tf.shape(scores)[0]], tf.uint8)
        values = probabilities(scores, self._bundle.info.head, self._output)
        shown = values[..., 0]
        if self._bundle.info.head == "multiclass":
            shown = tf.gather(values, tf.cast(chosen, tf.int32), axis=-1, batch_dims=3)
        large = tf.image.resize(shown[..., tf.newaxis], size, method="bilinear")[..., 0]
        return tf.cast(tf.round(large * (2.0**self._bits - 1.0)), tf.uint8 if self._bits == 8 else tf.uint16)


def no_truth(image: tf.Tensor) -> tf.Tensor:
    """Return ground truth that says nothing: uint8 [B, H, W], all ignored."""
    return tf.fill(tf.shape(image)[:3], tf.constant(IGNORED, tf.uint8))

"""The compiled step of predicting: pixels in, class indices out, in one graph."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from segbatch.data.normalize import normalization_of
from segbatch.data.resize import resize_image
from segbatch.inference.engines.engine import Engine
from segbatch.inference.lanes import Lanes
from segbatch.inference.results import BatchResults, Fetch
from segbatch.inference.views import PLAIN, View, averaged, brought_back, mean, seen_from
from segbatch.models.bundle import Bundle
from segbatch.models.decision import Output, decide, probabilities
from segbatch.spec.mask_rules import MaskRules


class Step:
    """Predicts fixed-size batches of tiles.

    Tiles of one size go through a single graph. A batch whose tiles differ in size is brought to the network's size by
    groups of one size, and passes the network as one batch; which way a batch goes depends on its own tiles alone, so
    a resumed task computes the same. Masks leave the graph at the network's size, which is less to fetch, and are
    brought to their tile's by whoever takes them.

    Args:
        bundle: model and what belongs to it.
        rules: how scores become a mask.
        batch_size: number B of slots in every batch.
        with_truth: hand the ground truth on.
        probability_bits: 8 or 16 to give probabilities too, 0 for none.
        views: whose probabilities are averaged.
        engine: runs the network in TensorFlow's place.
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
        engine: Engine | None = None,
    ) -> None:
        self._bundle = bundle
        self._normalize = normalization_of(bundle.info, bundle.mean_image)
        self._rules = rules
        self._batch_size = batch_size
        self._with_truth = with_truth
        self._bits = probability_bits
        self._views = views
        self._output: Output = bundle.info.output if len(views) == 1 else "probabilities"
        self._engine = engine
        self.lanes = Lanes.of_tensorflow()
        self._make_graphs()

    def _make_graphs(self) -> None:
        info, size = self._bundle.info, self._batch_size
        pixel = tf.uint8 if info.depth == 8 else tf.uint16
        channels = 1 if info.head == "binary" else len(info.labels.scored)
        images = tf.TensorSpec([size, None, None, info.bands], pixel)
        fitted = tf.TensorSpec([size, *info.input, info.bands], tf.float32)
        scores = tf.TensorSpec([size, *info.input, channels], tf.float32)
        # The decision alone compiled by XLA: a tenth of the time of TensorFlow's own argmax over few channels, and
        # half a second to compile. The network is a third as fast under XLA on a CPU, and GPUs have a quick argmax.
        compiled = tf.function(self._decide, autograph=False, jit_compile=not tf.config.list_physical_devices("GPU"))
        self._decided = tf.function(
            lambda scores: self._outcome(scores, compiled), input_signature=[scores], autograph=False
        )
        self._whole = tf.function(
            lambda images: self._decided(self._scores(images)), input_signature=[images], autograph=False
        )
        self._of_fitted = tf.function(
            lambda pixels: self._decided(self._network(pixels)), input_signature=[fitted], autograph=False
        )
        any_images = tf.TensorSpec([None, None, None, info.bands], pixel)
        self._fit = tf.function(self._to_input, input_signature=[any_images], autograph=False)
        best = tf.TensorSpec([None, None], tf.float32)
        # With a signature, since a graph for every size of a mixed archive would cost time and memory without bound.
        self._bytes = tf.function(self._to_bytes, input_signature=[best, tf.TensorSpec([2], tf.int32)], autograph=False)

    def __call__(self, image: tf.Tensor, size: np.ndarray, truth: tf.Tensor) -> BatchResults:
        """Predict one batch.

        Args:
            image: uint8 or uint16 [B, H, W, bands], zero beyond a tile's own size.
            size: int32 [B, 2]: height and width of each tile; 0, 0 marks an empty slot.
            truth: uint8 [B, H, W]: class indices, 255 where ignored or beyond the tile.

        Returns:
            One result a slot; None for empty slots.
        """
        groups: dict[tuple[int, int], list[int]] = defaultdict(list)
        for slot, (height, width) in enumerate(size.tolist()):
            if height:
                groups[height, width].append(slot)
        known = as_array(truth) if self._with_truth else None
        return BatchResults(self._start(image, groups), size, known, self._enlarge)

    def _start(self, image: tf.Tensor, groups: dict[tuple[int, int], list[int]]) -> Fetch:
        """Start computing a batch; what is returned waits for it."""
        one_size = len(groups) == 1 and tuple(image.shape[1:3]) in groups
        if not groups:
            height, width = self._bundle.info.input
            return lambda: (np.zeros((self._batch_size, height, width), np.uint8), None)
        if self._engine is not None:
            fitted = as_array(self._fit(image)) if one_size else self._fitted(image, groups)
            scores = self._asked(fitted, self._engine)
            return lambda: self._fetch(self._decided(scores()))
        graph, pixels = (self._whole, image) if one_size else (self._of_fitted, self._fitted(image, groups))
        outcome = self.lanes.start(lambda: graph(pixels))
        return lambda: self._fetch(outcome())

    def _fetch(self, outcome: tuple[tf.Tensor, tf.Tensor]) -> tuple[np.ndarray, np.ndarray | None]:
        mask, best = outcome
        return as_array(mask), as_array(best) if self._bits else None

    def _asked(self, fitted: np.ndarray, engine: Engine) -> Callable[[], tf.Tensor]:
        """Let an engine look at all views; what is returned waits for it."""
        info = self._bundle.info
        if len(self._views) == 1:
            plain = engine.start(fitted)
            return lambda: tf.constant(plain())
        started = [(engine.start(np.ascontiguousarray(seen_from(fitted, view))), view) for view in self._views]
        return lambda: mean(
            [
                brought_back(probabilities(tf.constant(scores()), info.head, info.output), view)
                for scores, view in started
            ]
        )

    def _fitted(self, image: tf.Tensor, groups: dict[tuple[int, int], list[int]]) -> np.ndarray:
        info = self._bundle.info
        fitted = np.zeros((self._batch_size, *info.input, info.bands), np.float32)
        for (height, width), slots in groups.items():
            fitted[slots] = as_array(self._fit(tf.gather(image[:, :height, :width], slots)))
        return fitted

    def _enlarge(self, best: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        return as_array(self._bytes(best, np.array(size, np.int32)))

    def _scores(self, images: tf.Tensor) -> tf.Tensor:
        """From uint8 or uint16 [B, H, W, bands] to scores, float32 [B, h, w, C], at the network's size."""
        return self._network(self._to_input(images))

    def _to_input(self, images: tf.Tensor) -> tf.Tensor:
        info = self._bundle.info
        return self._normalize(resize_image(images, info.input, info.resize))

    def _network(self, fitted: tf.Tensor) -> tf.Tensor:
        """float32 [B, h, w, C], of the kind that `_output` says."""
        if len(self._views) == 1:
            return self._one_view(fitted)
        info = self._bundle.info
        return averaged(lambda seen: probabilities(self._one_view(seen), info.head, info.output), fitted, self._views)

    def _one_view(self, fitted: tf.Tensor) -> tf.Tensor:
        return tf.cast(self._bundle.model(fitted, training=False), tf.float32)

    def _outcome(self, scores: tf.Tensor, compiled: Callable[[tf.Tensor], tf.Tensor]) -> tuple[tf.Tensor, ...]:
        chosen = compiled(scores)
        if not self._bits:
            return chosen, tf.zeros([], tf.float32)
        values = probabilities(scores, self._bundle.info.head, self._output)
        if self._bundle.info.head == "binary":
            return chosen, values[..., 0]
        return chosen, tf.gather(values, tf.cast(chosen, tf.int32), axis=-1, batch_dims=3)

    def _decide(self, scores: tf.Tensor) -> tf.Tensor:
        return decide(scores, self._bundle.info.head, self._output, self._rules.threshold, self._rules.thresholds)

    def _to_bytes(self, best: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
        large = tf.image.resize(best[..., tf.newaxis], size, method="bilinear")[..., 0]
        return tf.cast(tf.round(large * (2.0**self._bits - 1.0)), tf.uint16 if self._bits == 16 else tf.uint8)


def as_array(tensor: tf.Tensor) -> np.ndarray:
    """Look at a tensor as an array, without the copy that `Tensor.numpy` makes; not to be written to."""
    return np.asarray(memoryview(tensor)) if tensor.device.endswith("CPU:0") else tensor.numpy()

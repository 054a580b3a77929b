"""Predicting at native resolution: overlapping windows over a tile, blended."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import tensorflow as tf

from segbatch.data.normalize import normalization_of
from segbatch.data.windows import Blend, Windows
from segbatch.inference.engines.engine import Engine
from segbatch.inference.lanes import Lanes
from segbatch.inference.results import TileResult
from segbatch.inference.views import PLAIN, View, averaged, brought_back, mean, seen_from
from segbatch.models.bundle import Bundle
from segbatch.models.decision import decide, probabilities
from segbatch.spec.mask_rules import MaskRules

Positions = Sequence[tuple[int, int]]


class WindowStep:
    """Predicts tiles of any size through windows of one size.

    What is blended are probabilities (softmax or sigmoid), so that every window's vote has the same scale.

    Args:
        bundle: model and what belongs to it; its network takes `window` x `window` pixels.
        window: side of a window, in pixels.
        overlap: of neighbouring windows, in pixels or as a share of the window.
        rules: how scores become a mask.
        batch_size: windows in one forward pass.
        with_truth: hand the ground truth on.
        probability_bits: 8 or 16 to give probabilities too, 0 for none.
        views: of each window, whose probabilities are averaged.
        engine: runs the network in TensorFlow's place.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        window: int,
        overlap: float,
        rules: MaskRules,
        batch_size: int,
        with_truth: bool,
        probability_bits: int = 0,
        views: Sequence[View] = PLAIN,
        engine: Engine | None = None,
    ) -> None:
        self._bundle = bundle
        self._normalize = normalization_of(bundle.info, bundle.mean_image)
        self._window = window
        self._overlap = overlap
        self._rules = rules
        self._batch_size = batch_size
        self._with_truth = with_truth
        self._bits = probability_bits
        self._views = views
        self._engine = engine
        # Engines have lanes of their own.
        self.lanes = Lanes.of_tensorflow() if engine is None else Lanes(0)
        pixel = tf.uint8 if bundle.info.depth == 8 else tf.uint16
        signature = tf.TensorSpec([batch_size, window, window, bundle.info.bands], pixel)
        self._network = tf.function(self._probabilities, input_signature=[signature])
        self._normalized = tf.function(self._normalize, input_signature=[signature])

    def __call__(self, image: tf.Tensor, size: np.ndarray, truth: tf.Tensor) -> list[TileResult | None]:
        """Predict the tiles of one batch, each by itself; arguments and result as in `Step`."""
        return [
            self._tile(image[slot, :rows, :columns].numpy(), truth[slot, :rows, :columns].numpy()) if rows else None
            for slot, (rows, columns) in enumerate(size)
        ]

    def _probabilities(self, pixels: tf.Tensor) -> tf.Tensor:
        return averaged(self._one_view, self._normalize(pixels), self._views)

    def _one_view(self, normalized: tf.Tensor) -> tf.Tensor:
        """float32 [B, window, window, C]."""
        info = self._bundle.info
        scores = self._bundle.model(normalized, training=False)
        return probabilities(tf.cast(scores, tf.float32), info.head, info.output)

    def _tile(self, image: np.ndarray, truth: np.ndarray) -> TileResult:
        height, width = image.shape[:2]
        windows = Windows(height, width, self._window, self._overlap)
        channels = 1 if self._bundle.info.head == "binary" else len(self._bundle.info.labels.scored)
        blend = Blend(windows, channels)
        for chunk, votes in self._voted(image, windows):
            for position, vote in zip(chunk, votes, strict=False):
                blend.add(position, vote)
        return self._decided(blend.result(), truth)

    def _voted(self, image: np.ndarray, windows: Windows) -> Iterator[tuple[Positions, np.ndarray]]:
        """Yield the windows in order, a batch at a time, with their votes; those of the next are being computed."""
        waiting: deque[tuple[Positions, Callable[[], np.ndarray]]] = deque()
        for chunk in self._chunks(list(windows)):
            pixels = np.zeros((self._batch_size, self._window, self._window, image.shape[2]), image.dtype)
            for slot, position in enumerate(chunk):
                pixels[slot] = windows.cut(image, position)
            waiting.append((chunk, self.lanes.start(partial(self._votes, pixels))))
            if len(waiting) > self.lanes.number:
                first, votes = waiting.popleft()
                yield first, votes()
        for chunk, votes in waiting:
            yield chunk, votes()

    def _votes(self, pixels: np.ndarray) -> np.ndarray:
        """Probabilities, float32 [B, window, window, C], of windows."""
        if self._engine is None:
            votes: np.ndarray = self._network(pixels).numpy()
            return votes
        info, normalized = self._bundle.info, self._normalized(pixels).numpy()
        started = [
            (self._engine.start(np.ascontiguousarray(seen_from(normalized, view))), view) for view in self._views
        ]
        seen = [brought_back(probabilities(scores(), info.head, info.output), view) for scores, view in started]
        return np.asarray(mean(seen))

    def _chunks(self, positions: Positions) -> Iterator[Positions]:
        for start in range(0, len(positions), self._batch_size):
            yield positions[start : start + self._batch_size]

    def _decided(self, blended: np.ndarray, truth: np.ndarray) -> TileResult:
        rules = self._rules
        mask = decide(blended, self._bundle.info.head, "probabilities", rules.threshold, rules.thresholds).numpy()
        probability = self._probability(blended, mask) if self._bits else None
        return TileResult(mask, probability, truth if self._with_truth else None)

    def _probability(self, blended: np.ndarray, mask: np.ndarray) -> np.ndarray:
        chosen = np.zeros_like(mask) if self._bundle.info.head == "binary" else mask
        shown = np.take_along_axis(blended, chosen[..., np.newaxis].astype(np.intp), axis=-1)[..., 0]
        return np.rint(shown * (2.0**self._bits - 1)).astype(np.uint16 if self._bits == 16 else np.uint8)

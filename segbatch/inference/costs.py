"""What each way to better masks costs on this machine: time of the step and of a writer, beside those without it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import tensorflow as tf

from segbatch.errors import InputError
from segbatch.inference.masks import MaskFormat
from segbatch.inference.png import encode_mask
from segbatch.inference.prepare import cleaning_of, make_step
from segbatch.inference.results import TileResult
from segbatch.models.bundle import Bundle
from segbatch.spec.inference import Predict

PLAIN = "none of them"
REGION = 20
"""Pixels of the regions and holes that are looked for; the cost hardly depends on it."""


@dataclass(frozen=True)
class Cost:
    """One option, alone."""

    option: str
    """As a job file has it, below `predict`."""
    step_s: float
    """Seconds a tile in the step."""
    writer_s: float
    """Seconds a tile in a writer: cleaning and encoding, without the disk."""
    step_ratio: float
    """Times the step without any option."""
    writer_ratio: float
    """Times the writer without any option."""


def costs(
    bundle: Bundle,
    settings: Predict,
    images: np.ndarray,
    truth: np.ndarray | None = None,
    *,
    rounds: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Cost]:
    """Time every option by itself on one batch of tiles.

    The options take turns, so that what else goes on on the machine troubles all alike; medians over the rounds.

    Args:
        bundle: model and what belongs to it.
        settings: the job's `predict`; options that it has are left out, `fit` and the like stay.
        images: uint8 or uint16 [B, H, W, bands]; B becomes the batch size.
        truth: uint8 [B, H, W] class indices, for counts.
        rounds: times that each is done, after one that does not count.
        clock: gives seconds.

    Returns:
        The cost without any option, then of each that this model can have.
    """
    contenders = {name: _Contender(bundle, asked, images, truth) for name, asked in _asked(bundle, settings, images)}
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for turn in range(rounds + 1):
        for name, contender in contenders.items():
            spent = contender.run(clock)
            if turn:
                taken[name].append(spent)
    middle = {name: [median(side) / len(images) for side in zip(*pairs, strict=True)] for name, pairs in taken.items()}
    step, writer = middle[PLAIN]
    return [Cost(name, one, two, one / step, two / writer) for name, (one, two) in middle.items()]


def _asked(bundle: Bundle, settings: Predict, images: np.ndarray) -> Iterator[tuple[str, Predict]]:
    labels = bundle.info.labels
    last = labels.names[-1]
    options: Mapping[str, Mapping[str, Any]] = {
        PLAIN: {},
        "test_time_augmentation: [flips]": {"test_time_augmentation": ("flips",)},
        "test_time_augmentation: [quarter_turns]": {"test_time_augmentation": ("quarter_turns",)},
        "test_time_augmentation: [flips, quarter_turns]": {"test_time_augmentation": ("flips", "quarter_turns")},
        f"thresholds: {{{last}: 0.3}}": {"thresholds": {last: 0.3}},
        f"fill_holes: {{{last}: all}}": {"fill_holes": {last: "all"}},
        f"min_region: {REGION}": {"min_region": REGION},
        "probabilities: 8": {"probabilities": 8},
        "probabilities: 16": {"probabilities": 16},
    }
    every: dict[str, Any] = {key: Predict.model_fields[key].default for option in options.values() for key in option}
    plain = settings.model_copy(update={**every, "threshold": None, "batch_size": len(images)})
    for name, values in options.items():
        asked = plain.model_copy(update=dict(values))
        try:
            cleaning_of(bundle.info, bundle.path, asked)
        except InputError:
            continue
        yield name, asked


class _Contender:
    """One option, ready to be timed."""

    def __init__(self, bundle: Bundle, asked: Predict, images: np.ndarray, truth: np.ndarray | None) -> None:
        self._step = make_step(bundle, asked, with_truth=truth is not None)
        self._cleaning = cleaning_of(bundle.info, bundle.path, asked)
        self._format = MaskFormat.of(bundle.info.labels, asked)
        self._images = tf.constant(images)
        self._sizes = np.tile(np.array(images.shape[1:3], np.int32), (len(images), 1))
        self._truth = tf.zeros(images.shape[:3], tf.uint8) if truth is None else tf.constant(truth)

    def run(self, clock: Callable[[], float]) -> tuple[float, float]:
        """Seconds of a batch in the step and in the writer."""
        begun = clock()
        results = [result for result in self._step(self._images, self._sizes, self._truth) if result is not None]
        stepped = clock()
        self._write(results)
        return stepped - begun, clock() - stepped

    def _write(self, results: Sequence[TileResult]) -> None:
        for result in results:
            self._format.encode(self._cleaning(result.mask) if self._cleaning else result.mask)
            if result.probability is not None:
                encode_mask(result.probability)

"""Batches computed side by side are those computed one after the other, to the bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from segbatch.inference.lanes import Lanes
from segbatch.inference.prepare import make_step
from segbatch.models.bundle import load_bundle
from segbatch.spec.inference import Predict
from tests.support.worlds import make_bundle, mixing_model

pytestmark = pytest.mark.tensorflow

SIDE, BATCH, BATCHES = 32, 4, 12


def results(step: Any, lanes: Lanes, tiles: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    step.lanes = lanes
    size = np.full((BATCH, 2), tiles.shape[2], np.int32)
    truth = tf.zeros(tiles.shape[1:4], tf.uint8)
    # All are begun before the first is asked for; each start waits while too many are computed.
    begun = [step(tf.constant(batch), size, truth) for batch in tiles]
    return [(result.mask, result.probability) for batch in begun for result in batch]


@pytest.mark.parametrize("settings", [{}, {"fit": "window", "window": SIDE}], ids=["resize", "window"])
def test_side_by_side_as_one_after_the_other(tmp_path: Path, settings: dict[str, Any]) -> None:
    bundle = load_bundle(make_bundle(tmp_path / "bundle", mixing_model(SIDE)))
    asked = Predict.model_validate({"batch_size": BATCH, "probabilities": 16, **settings})
    step = make_step(bundle, asked, with_truth=False)
    tiles = np.random.default_rng(5).integers(0, 256, (BATCHES, BATCH, 80, 80, 3)).astype(np.uint8)
    one_by_one = results(step, Lanes(0), tiles)
    computed: list[Callable[[], object]] = []
    lanes = Lanes(3, quick=0)
    start = lanes.start
    lanes.start = lambda compute: computed.append(compute) or start(compute)  # type: ignore[method-assign,func-returns-value]
    together = results(step, lanes, tiles)
    assert len(computed) >= BATCHES
    for (mask, probability), (mask_alone, probability_alone) in zip(together, one_by_one, strict=True):
        assert np.array_equal(mask, mask_alone)
        assert np.array_equal(probability, probability_alone)

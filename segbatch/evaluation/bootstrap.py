"""The paired bootstrap: by how much would the gain have varied, had the holdout been drawn anew?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from segbatch.evaluation.tally import Numbers, Tally, figure

_CELLS = 4_000_000
"""Weights held in memory at once."""


def resampled_gains(
    champion: Tally, challenger: Tally, metric: str, names: Sequence[str], *, resamples: int, seed: int
) -> Numbers:
    """Draw units with replacement, the same ones for both models, and score both on the sums of each draw.

    The paired bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap, 1993; for the comparison of two
    systems on one test set Koehn, EMNLP 2004). The metric is that of summed counts, as in the reports, not a mean of
    the units' own. Equal input gives equal output.

    Args:
        champion: of each unit (tile or group), [N, C].
        challenger: of the same units in the same order.
        metric: as `segbatch.evaluation.tally.figure` takes it.
        names: of the classes.
        resamples: number of draws.
        seed: of the draws.

    Returns:
        float64 [resamples]: challenger's figure minus champion's; NaN where a draw leaves one of them undefined.
    """
    generator = np.random.default_rng(seed)
    units = len(champion)
    at_once = max(1, _CELLS // max(units, 1))
    gains = []
    for start in range(0, resamples, at_once):
        weights = _weights(generator, min(at_once, resamples - start), units)
        gains.append(
            figure(_weighted(challenger, weights), metric, names) - figure(_weighted(champion, weights), metric, names)
        )
    return np.concatenate(gains)


def _weights(generator: np.random.Generator, draws: int, units: int) -> Numbers:
    """How often each unit was drawn: float64 [draws, units], each row adding up to `units`."""
    drawn = generator.integers(0, units, (draws, units))
    drawn += units * np.arange(draws)[:, None]
    counted: NDArray[np.intp] = np.bincount(drawn.ravel(), minlength=draws * units)
    return counted.reshape(draws, units).astype(np.float64)


def _weighted(tally: Tally, weights: Numbers) -> Tally:
    # Products of float64 run at full speed, and whole numbers below 2^53 stay exact in them.
    sums = (weights @ values.astype(np.float64) for values in (tally.tp, tally.fp, tally.fn))
    return Tally(*(np.rint(total).astype(np.int64) for total in sums))

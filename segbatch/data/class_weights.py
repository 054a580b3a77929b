"""Class weights: how much a pixel's loss counts, by its true class. No TensorFlow here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from segbatch.spec.loss import BETA, Scheme

RANKED = ((1, 6.0), (2, 5.0), (2, 4.0), (2, 3.0), (8, 2.0))
"""Number of classes and their weight, from the rarest on; all others weigh 1."""


def weights_by(
    scheme: Scheme, pixels: NDArray[np.int64], areas: NDArray[np.int64], beta: float = BETA
) -> NDArray[np.float64]:
    """Make class weights of pixel counts.

    A class without a pixel takes no part in the formulas and weighs 1: nothing is learned of it in any case.

    Args:
        scheme: `rank`, `inverse`, `median` or `effective`.
        pixels: [C] pixels of each class.
        areas: [C] pixels, of all classes, of the tiles in which each class occurs; for `median`.
        beta: for `effective`, from 0 to below 1.

    Returns:
        float64 [C].
    """
    weights = np.ones(len(pixels), np.float64)
    there = np.flatnonzero(pixels)
    if not len(there):
        return weights
    found = pixels[there].astype(np.float64)
    if scheme == "rank":
        weights[there] = rank_weights(pixels[there])
    elif scheme == "inverse":
        weights[there] = inverse_weights(found)
    elif scheme == "median":
        weights[there] = median_weights(found, areas[there].astype(np.float64))
    else:
        weights[there] = effective_weights(found, beta)
    return weights


def rank_weights(pixels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Weigh classes by their rank: the rarest 6, the next two 5, two 4, two 3, eight 2, all others 1.

    Of equally rare classes the first ranks as the rarer. The table is a rule of thumb for 34 classes of street scenes.
    """
    ladder = [weight for count, weight in RANKED for _ in range(count)]
    ladder += [1.0] * max(0, len(pixels) - len(ladder))
    weights = np.empty(len(pixels), np.float64)
    weights[np.argsort(pixels, kind="stable")] = ladder[: len(pixels)]
    return weights


def inverse_weights(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weigh classes by the inverse of their frequency: w_c = N / (C n_c), for n_c of N pixels and C classes.

    Every class then counts as much as any other in the mean over all pixels, and the mean weight of a pixel is 1.
    King and Zeng, "Logistic regression in rare events data", 2001; the `balanced` weights of scikit-learn.
    """
    return np.asarray(pixels.sum() / (len(pixels) * pixels))


def median_weights(pixels: NDArray[np.float64], areas: NDArray[np.float64]) -> NDArray[np.float64]:
    """Balance by median frequency: w_c = median(f) / f_c.

    f_c is the share of class c in the pixels of those tiles in which it occurs. Eigen and Fergus, "Predicting depth,
    surface normals and semantic labels with a common multi-scale convolutional architecture", 2015.
    """
    frequency = pixels / areas
    return np.asarray(np.median(frequency) / frequency)


def effective_weights(pixels: NDArray[np.float64], beta: float) -> NDArray[np.float64]:
    """Weigh classes by the inverse of their effective number: w_c proportional to (1 - beta) / (1 - beta^n_c).

    Scaled to add up to the number of classes. Cui et al., "Class-balanced loss based on effective number of samples",
    2019. Beyond 1 / (1 - beta) pixels a class has all its effect: with 0.9999, classes of more than
    some 50,000 pixels weigh the same, and a beta nearer to 1 tells them apart.
    """
    # 1 - beta^n without the loss of digits for a beta near 1.
    grown = -np.expm1(pixels * np.log(beta)) if beta > 0 else np.ones_like(pixels)
    weights = (1 - beta) / grown
    return np.asarray(weights * len(pixels) / weights.sum())


def weights_given(given: Mapping[str, float] | Sequence[float], names: Sequence[str]) -> NDArray[np.float64]:
    """Weights as a job gives them: a list, one a class, or by class name, 1 where none is given."""
    values = [given.get(name, 1.0) for name in names] if isinstance(given, Mapping) else list(given)
    return np.array(values, np.float64)

"""From a job's `loss` section to what training minimises: a new loss is a class and an entry in `_make_term`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from segbatch.errors import InputError
from segbatch.models.decision import Head
from segbatch.spec.loss import GAMMA, Term
from segbatch.spec.loss import Loss as LossSettings
from segbatch.training.dice import Dice
from segbatch.training.loss_sum import Loss, LossSum, mean
from segbatch.training.pixel_losses import Crossentropy, Focal

__all__ = ["Loss", "LossSum", "WeightedSum", "Weights", "make_loss", "mean"]

Weights = NDArray[np.float64] | None
"""[C] class weights of one term of the loss; None where it has none."""


class WeightedSum:
    """The sum of losses, each times its factor; all are of one head.

    Args:
        terms: the losses.
        factors: their factors.
    """

    def __init__(self, terms: Sequence[Loss], factors: Sequence[float]) -> None:
        self.head, self.channels = terms[0].head, terms[0].channels
        self._terms, self._factors = terms, factors

    def __call__(self, truth: tf.Tensor, logits: tf.Tensor) -> LossSum:
        """Add up the totals; every term has the same weight, the number of valid pixels."""
        sums = [term(truth, logits) for term in self._terms]
        totals = [factor * part.total for factor, part in zip(self._factors, sums, strict=True)]
        return LossSum(tf.add_n(totals), sums[0].weight)


def make_loss(settings: LossSettings, classes: int, weights: Sequence[Weights] = ()) -> Loss:
    """Make the loss that a job describes.

    Args:
        settings: the job's `loss` section.
        classes: number of classes.
        weights: class weights of each of the settings' terms; by default none has any.

    Raises:
        InputError: the loss does not fit the number of classes.
    """
    head = settings.head(classes)
    by_term = list(weights) or [None] * len(settings.terms)
    terms = [_make_term(term, head, classes, own) for term, own in zip(settings.terms, by_term, strict=True)]
    if settings.name != "sum":
        return terms[0]
    return WeightedSum(terms, [part.weight for part in settings.parts])


def _make_term(term: Term, head: Head, classes: int, weights: Weights) -> Loss:
    if term.name == "binary_crossentropy" and classes != 2:
        raise InputError(
            f"loss.name: binary_crossentropy needs labels of 2 classes, these have {classes}. "
            "Use sparse_crossentropy, or `auto`."
        )
    if term.name == "dice":
        return Dice(head, classes)
    if term.name == "focal":
        if term.alpha is not None:
            weights = np.array([1 - term.alpha, term.alpha])
        return Focal(head, classes, GAMMA if term.gamma is None else term.gamma, weights)
    return Crossentropy(head, classes, weights)

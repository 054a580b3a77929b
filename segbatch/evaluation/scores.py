"""IoU, Dice and their relatives, computed from counts; undefined scores are None."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from segbatch.evaluation.counts import Counts

Score = float | None
"""A share between 0 and 1, or None where the formula is 0/0."""


def ratio(part: int, whole: int) -> Score:
    """Return part / whole, or None where whole is 0."""
    return part / whole if whole else None


def mean(values: tuple[Score, ...]) -> Score:
    """Return the mean of the values that are defined, or None where none is."""
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None


@dataclass(frozen=True)
class Scores:
    """All that follows from one table of counts: of a tile, a shard or a whole set.

    Tuples have one entry per class, in the order of the labels' scored classes. A class in neither truth nor
    prediction has no IoU and no Dice: None, never 0 or 1, and it is left out of the means.
    """

    tp: tuple[int, ...]
    """True positives: pixels of the class that were predicted as it."""
    fp: tuple[int, ...]
    """False positives: pixels of other classes that were predicted as it."""
    fn: tuple[int, ...]
    """False negatives: pixels of the class that were predicted as another, or as no class."""

    @cached_property
    def truth(self) -> tuple[int, ...]:
        """Valid pixels of each class in the truth: tp + fn."""
        return tuple(tp + fn for tp, fn in zip(self.tp, self.fn, strict=True))

    @cached_property
    def predicted(self) -> tuple[int, ...]:
        """Valid pixels of each class in the prediction: tp + fp."""
        return tuple(tp + fp for tp, fp in zip(self.tp, self.fp, strict=True))

    @cached_property
    def valid(self) -> int:
        """Pixels whose truth is a class, that is, not ignored."""
        return sum(self.truth)

    @cached_property
    def iou(self) -> tuple[Score, ...]:
        """Intersection over union, tp / (tp + fp + fn) (Jaccard 1912; Everingham et al., PASCAL VOC, 2010)."""
        return tuple(ratio(tp, tp + fp + fn) for tp, fp, fn in zip(self.tp, self.fp, self.fn, strict=True))

    @cached_property
    def dice(self) -> tuple[Score, ...]:
        """Dice coefficient or F1, 2 tp / (2 tp + fp + fn) (Dice 1945)."""
        return tuple(ratio(2 * tp, 2 * tp + fp + fn) for tp, fp, fn in zip(self.tp, self.fp, self.fn, strict=True))

    @cached_property
    def precision(self) -> tuple[Score, ...]:
        """Share of the pixels predicted as the class that are of the class, tp / (tp + fp)."""
        return tuple(ratio(tp, predicted) for tp, predicted in zip(self.tp, self.predicted, strict=True))

    @cached_property
    def recall(self) -> tuple[Score, ...]:
        """Share of the class's pixels that were predicted as it, tp / (tp + fn)."""
        return tuple(ratio(tp, truth) for tp, truth in zip(self.tp, self.truth, strict=True))

    @cached_property
    def share_of_truth(self) -> tuple[Score, ...]:
        """Share of the valid pixels that are of the class."""
        return tuple(ratio(truth, self.valid) for truth in self.truth)

    @cached_property
    def share_of_prediction(self) -> tuple[Score, ...]:
        """Share of the valid pixels that were predicted as the class; less than 1 in all where some got no class."""
        return tuple(ratio(predicted, self.valid) for predicted in self.predicted)

    @cached_property
    def accuracy(self) -> Score:
        """Pixel accuracy: share of the valid pixels that were predicted right."""
        return ratio(sum(self.tp), self.valid)

    @cached_property
    def mean_iou(self) -> Score:
        """Mean of the IoU over the classes that have one."""
        return mean(self.iou)

    @cached_property
    def mean_dice(self) -> Score:
        """Mean of the Dice coefficient over the classes that have one."""
        return mean(self.dice)

    @cached_property
    def frequency_weighted_iou(self) -> Score:
        """Mean of the IoU weighted by share of truth (Long, Shelhamer and Darrell, CVPR 2015)."""
        if not self.valid:
            return None
        return sum(truth * (iou or 0.0) for truth, iou in zip(self.truth, self.iou, strict=True)) / self.valid

    @cached_property
    def entered(self) -> tuple[int, ...]:
        """Indices of the classes that have an IoU, and so entered the means."""
        return tuple(index for index, iou in enumerate(self.iou) if iou is not None)


def score(counts: Counts) -> Scores:
    """Return the scores of int64 [C, C + 1] counts, as `segbatch.evaluation.counts.confusion` gives them.

    "No class" on a pixel of some class is a false negative of that class and a false positive of none.
    """
    classes = counts.shape[0]
    tp = counts.diagonal()
    fp = counts[:, :classes].sum(axis=0) - tp
    fn = counts.sum(axis=1) - tp
    return Scores(tuple(tp.tolist()), tuple(fp.tolist()), tuple(fn.tolist()))

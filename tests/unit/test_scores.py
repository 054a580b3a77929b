"""IoU, Dice and their relatives, against worked numbers, identities and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics

from segbatch.evaluation.counts import Counts, confusion
from segbatch.evaluation.scores import Scores, score

# Two tiles and four classes, of which class 2 is in neither truth nor prediction.
TRUTH = ([[0, 0, 0], [1, 1, 1]], [[0, 1, 3]])
PREDICTED = ([[0, 0, 0], [1, 1, 1]], [[1, 3, 3]])


def probe() -> Counts:
    pairs = zip(TRUTH, PREDICTED, strict=True)
    return sum(
        (confusion(np.array(truth, np.uint8), np.array(predicted, np.uint8), 4) for truth, predicted in pairs),
        start=np.zeros((4, 5), np.int64),
    )


def test_the_probe() -> None:
    scores = score(probe())
    assert scores.iou == (0.75, 0.6, None, 0.5)
    assert scores.mean_iou == pytest.approx(0.6167, abs=5e-5)
    assert scores.dice == pytest.approx((6 / 7, 0.75, None, 2 / 3))
    assert scores.mean_dice == pytest.approx(0.7579, abs=5e-5)
    assert scores.entered == (0, 1, 3)
    assert (scores.tp, scores.fp, scores.fn) == ((3, 3, 0, 1), (0, 1, 0, 1), (1, 1, 0, 0))
    assert scores.precision == (1.0, 0.75, None, 0.5)
    assert scores.recall == (0.75, 0.75, None, 1.0)
    assert scores.share_of_truth == pytest.approx((4 / 9, 4 / 9, 0, 1 / 9))
    assert scores.share_of_prediction == pytest.approx((3 / 9, 4 / 9, 0, 2 / 9))
    assert scores.accuracy == pytest.approx(7 / 9)
    assert scores.frequency_weighted_iou == pytest.approx((4 * 0.75 + 4 * 0.6 + 0.5) / 9)
    assert scores.valid == 9


def test_an_empty_tile_predicted_empty_has_no_foreground_score() -> None:
    scores = score(np.array([[16, 0, 0], [0, 0, 0]]))
    assert scores.iou == (1.0, None)
    assert scores.mean_iou == 1.0
    assert scores.entered == (0,)


def test_a_class_that_was_only_predicted_scores_zero() -> None:
    scores = score(np.array([[15, 1, 0], [0, 0, 0]]))
    assert scores.iou == (15 / 16, 0.0)
    assert scores.recall == (15 / 16, None)
    assert scores.precision == (1.0, 0.0)


def test_without_a_valid_pixel_everything_is_undefined() -> None:
    scores = score(np.zeros((2, 3), np.int64))
    overall = (scores.accuracy, scores.mean_iou, scores.mean_dice, scores.frequency_weighted_iou)
    assert overall == (None, None, None, None)
    assert scores.iou == scores.precision == scores.share_of_truth == scores.share_of_prediction == (None, None)
    assert scores.entered == ()


def test_no_class_is_missed_and_nobody_elses_mistake() -> None:
    scores = score(np.array([[6, 0, 2], [0, 2, 0]]))
    assert (scores.fp, scores.fn) == ((0, 0), (2, 0))
    assert scores.iou == (0.75, 1.0)
    assert scores.accuracy == 0.8
    assert sum(share or 0 for share in scores.share_of_prediction) == 0.8


def test_large_counts_stay_exact() -> None:
    pixels = 2**61
    scores = score(np.array([[pixels, 1, 0], [0, pixels, 0]]))
    assert scores.fn == (1, 0)
    assert scores.valid == 2**62 + 1


@st.composite
def tables(draw: st.DrawFn) -> Counts:
    classes = draw(st.integers(2, 6))
    numbers = st.just(0) | st.integers(0, 10**6)
    return draw(hnp.arrays(np.int64, (classes, classes + 1), elements=numbers))


@settings(deadline=None)
@given(tables())
def test_dice_follows_from_iou_class_by_class(counts: Counts) -> None:
    scores = score(counts)
    for iou, dice in zip(scores.iou, scores.dice, strict=True):
        assert (iou is None) == (dice is None)
        if iou is not None and dice is not None:
            assert dice == pytest.approx(2 * iou / (1 + iou))


@settings(deadline=None)
@given(tables())
def test_micro_f1_is_the_accuracy_when_every_pixel_has_a_class(counts: Counts) -> None:
    counts[:, -1] = 0
    scores = score(counts)
    tp, fp, fn = sum(scores.tp), sum(scores.fp), sum(scores.fn)
    if scores.accuracy is None:
        assert tp + fp + fn == 0
    else:
        assert scores.accuracy == pytest.approx(2 * tp / (2 * tp + fp + fn))


@settings(deadline=None)
@given(tables())
def test_no_score_is_nan_or_out_of_range(counts: Counts) -> None:
    scores = score(counts)
    columns = (scores.iou, scores.dice, scores.precision, scores.recall)
    overall = (scores.accuracy, scores.mean_iou, scores.mean_dice, scores.frequency_weighted_iou)
    for value in (*overall, *(value for column in columns for value in column)):
        assert value is None or 0 <= value <= 1 + 1e-12


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5)), min_size=1, max_size=60),
)
def test_scores_are_those_of_scikit_learn(pixels: list[tuple[int, int]]) -> None:
    """Classes 0 to 4; 5 in a prediction is "no class", which scikit-learn sees as one more class, not averaged."""
    truth, predicted = (np.array([column], np.uint8) for column in zip(*pixels, strict=True))
    scores = score(confusion(truth, predicted, 5))
    flat = (truth.ravel(), predicted.ravel())
    asked = {"labels": range(5), "average": None, "zero_division": np.nan}
    for ours, theirs in [
        (scores.iou, metrics.jaccard_score(*flat, labels=range(5), average=None, zero_division=0)),
        (scores.dice, metrics.f1_score(*flat, **asked)),
        (scores.precision, metrics.precision_score(*flat, **asked)),
        (scores.recall, metrics.recall_score(*flat, **asked)),
    ]:
        defined = [(own, other) for own, other in zip(ours, theirs, strict=True) if own is not None]
        assert [own for own, _ in defined] == pytest.approx([other for _, other in defined])
    assert [index for index in range(5) if index in flat[0] or index in flat[1]] == list(scores.entered)
    assert scores.accuracy == pytest.approx(metrics.accuracy_score(*flat))
    entered = list(scores.entered)
    if entered:
        theirs = metrics.jaccard_score(*flat, labels=entered, average="macro", zero_division=0)
        assert scores.mean_iou == pytest.approx(theirs)


def test_scores_are_values() -> None:
    assert score(probe()) == Scores((3, 3, 0, 1), (0, 1, 0, 1), (1, 1, 0, 0))

"""Pixels counted by true and predicted class."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import confusion_matrix

from segbatch.evaluation.counts import class_pixels, confusion, pack, unpack, unpack_pixels


@st.composite
def maps(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int]:
    """Truth with ignored pixels, a prediction with pixels of no class, and the number of classes."""
    classes = draw(st.integers(1, 254))
    shape = draw(hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9))
    few = st.integers(0, min(classes, 4) - 1) | st.integers(0, classes - 1)
    truth = draw(hnp.arrays(np.uint8, shape, elements=few | st.just(255)))
    predicted = draw(hnp.arrays(np.uint8, shape, elements=few | st.integers(0, 255)))
    return truth, predicted, classes


def test_worked_numbers() -> None:
    truth = np.array([[0, 0, 1], [1, 2, 255]], np.uint8)
    predicted = np.array([[0, 1, 1], [255, 7, 0]], np.uint8)
    counts = confusion(truth, predicted, 3)
    assert counts.dtype == np.int64
    assert counts.tolist() == [[1, 1, 0, 0], [0, 1, 0, 1], [0, 0, 0, 1]]
    assert class_pixels(predicted, 3).tolist() == [2, 2, 0]


@settings(deadline=None)
@given(maps())
def test_counts_are_those_of_scikit_learn(case: tuple[np.ndarray, np.ndarray, int]) -> None:
    truth, predicted, classes = case
    valid = truth != 255
    expected = np.zeros((classes, classes + 1), np.int64)
    if valid.any():
        known = np.where(predicted < classes, predicted, classes)[valid]
        expected = confusion_matrix(truth[valid], known, labels=range(classes + 1))[:classes]
    np.testing.assert_array_equal(confusion(truth, predicted, classes), expected)
    assert class_pixels(predicted, classes).tolist() == [int((predicted == c).sum()) for c in range(classes)]


@settings(deadline=None)
@given(maps(), st.lists(st.integers(0, 9), max_size=4), st.randoms())
def test_any_cut_of_the_pixels_gives_the_same_sums(case: tuple, cuts: list[int], random: object) -> None:
    truth, predicted, classes = case
    bounds = sorted({0, len(truth), *(cut for cut in cuts if cut < len(truth))})
    parts = [confusion(truth[low:high], predicted[low:high], classes) for low, high in pairwise(bounds)]
    random.shuffle(parts)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(sum(parts), confusion(truth, predicted, classes))


def test_a_truth_that_holds_no_class_is_refused() -> None:
    with pytest.raises(ValueError, match=r"below 2 or 255, received \[2, 254\]"):
        confusion(np.array([[0, 2, 254, 255]], np.uint8), np.zeros((1, 4), np.uint8), 2)


def test_maps_of_two_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"truth \(1, 6\) and prediction \(2, 3\)"):
        confusion(np.zeros((1, 6), np.uint8), np.zeros((2, 3), np.uint8), 2)


@st.composite
def tables(draw: st.DrawFn) -> np.ndarray:
    classes = draw(st.integers(1, 12))
    numbers = st.just(0) | st.integers(0, 2**63 - 1)
    return draw(hnp.arrays(np.int64, (classes, classes + 1), elements=numbers))


@settings(deadline=None)
@given(tables())
def test_packed_counts_come_back(counts: np.ndarray) -> None:
    text = pack(counts)
    assert set(text) <= set("0123456789: ")
    np.testing.assert_array_equal(unpack(text, len(counts)), counts)
    np.testing.assert_array_equal(unpack_pixels(pack(counts[:, 0]), len(counts)), counts[:, 0])


def test_packed_text_is_short_and_ordered() -> None:
    counts = np.zeros((19, 20), np.int64)
    counts[3, 19], counts[0, 1], counts[0, 0] = 7, 5, 123
    assert pack(counts) == "0:0:123 0:1:5 3:19:7"
    assert pack(counts[0]) == "0:123 1:5"
    assert pack(np.zeros((2, 3), np.int64)) == ""


@pytest.mark.parametrize(
    "text",
    [
        *("0:0", "0:0:", "0:0:1 ", " 0:0:1", "0:0:1  0:1:1", "0:0:-1", "0:0:1.5", "x", "2:0:1", "0:3:1", "0:0:1:1"),
        *("0:0:9223372036854775808", "٠:٠:١", "0:0:1_0", "0:0:1\n"),
    ],
)
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"counts"):
        unpack(text, 2)

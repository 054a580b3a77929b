"""Class weights: worked numbers, and scikit-learn as an oracle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from segbatch.data.class_weights import weights_by, weights_given
from segbatch.spec.loss import SCHEMES


def weights(scheme, pixels, areas=None, **options):
    counts = np.array(pixels, np.int64)
    return weights_by(scheme, counts, counts if areas is None else np.array(areas, np.int64), **options)


def test_rank_of_34_classes():
    """The street project's table: one 6, two 5, two 4, two 3, eight 2, and 1 for the 19 most frequent."""
    order = np.random.default_rng(1).permutation(34)
    pixels = np.empty(34, np.int64)
    pixels[order] = 10 ** np.linspace(2, 8, 34)
    assert weights("rank", pixels)[order].tolist() == [6, 5, 5, 4, 4, 3, 3, *[2] * 8, *[1] * 19]


def test_rank_of_few_classes_and_of_equals():
    assert weights("rank", [900, 100]).tolist() == [5, 6]
    assert weights("rank", [7, 7, 7]).tolist() == [6, 5, 5]


def test_inverse():
    # 600, 300 and 100 of 1000 pixels: 1000 / (3 x 600) = 0.5556, 1.1111, 3.3333; a pixel's mean weight is 1.
    found = weights("inverse", [600, 300, 100])
    assert found == pytest.approx([5 / 9, 10 / 9, 10 / 3])
    assert found @ [0.6, 0.3, 0.1] == pytest.approx(1)


def test_median_divides_by_the_tiles_that_hold_the_class():
    # Shares 800/1000 = .8, 150/500 = .3 and 50/500 = .1; their median .3 gives .375, 1 and 3.
    assert weights("median", [800, 150, 50], [1000, 500, 500]) == pytest.approx([0.375, 1, 3])


def test_effective_number():
    # beta .9: E(1) = 1, E(2) = 1.9, E(large) = 10; inverses 1, .52632, .1 add up to 1.62632, and are scaled to 3.
    assert weights("effective", [1, 2, 10**6], beta=0.9) == pytest.approx([1.844656, 0.970872, 0.184466], rel=1e-5)
    # Far beyond 1 / (1 - beta) pixels all classes weigh the same; with beta 0 they always do.
    assert weights("effective", [10**6, 10**9]) == pytest.approx([1, 1])
    assert weights("effective", [1, 10**9], beta=0.0) == pytest.approx([1, 1])


@given(pixels=st.lists(st.integers(0, 10**12), min_size=2, max_size=40), scheme=st.sampled_from(SCHEMES))
def test_rarer_classes_never_weigh_less_and_absent_ones_1(pixels, scheme):
    found = weights(scheme, pixels, [sum(pixels)] * len(pixels))
    counts = np.array(pixels)
    assert np.isfinite(found).all()
    assert (found > 0).all()
    assert (found[counts == 0] == 1).all()
    there = np.flatnonzero(counts)
    assert (np.diff(found[there][np.argsort(counts[there], kind="stable")]) <= 1e-9).all()


@given(pixels=st.lists(st.integers(1, 30), min_size=2, max_size=6))
def test_inverse_equals_scikit_learn(pixels):
    classes = np.arange(len(pixels))
    theirs = compute_class_weight("balanced", classes=classes, y=np.repeat(classes, pixels))
    assert weights("inverse", pixels) == pytest.approx(theirs)


def test_given():
    assert weights_given((0.2, 1, 5), ("a", "b", "c")).tolist() == [0.2, 1, 5]
    assert weights_given({"c": 5}, ("a", "b", "c")).tolist() == [1, 1, 5]

"""Windows cover everything; a blend of equal values is that value, at every size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segbatch.data.windows import Blend, Windows, overlap_pixels, weights
from segbatch.errors import InputError

SIDES = st.integers(1, 70)


@given(height=SIDES, width=SIDES, window=st.integers(1, 40), share=st.floats(0, 0.95))
def test_every_pixel_is_in_a_window_and_no_window_begins_outside(
    height: int, width: int, window: int, share: float
) -> None:
    windows = Windows(height, width, window, share)
    seen = np.zeros((height, width), int)
    for top, left in windows:
        assert top >= 0
        assert left >= 0
        seen[top : top + window, left : left + window] += 1
        assert top + window <= max(height, window)
        assert left + window <= max(width, window)
    assert seen.min() >= 1


@given(height=SIDES, width=SIDES, window=st.integers(1, 40), share=st.floats(0, 0.95), value=st.floats(0, 1, width=32))
def test_a_constant_model_gives_a_constant_map(
    height: int, width: int, window: int, share: float, value: float
) -> None:
    windows = Windows(height, width, window, share)
    blend = Blend(windows, 2)
    for position in windows:
        blend.add(position, np.full((window, window, 2), value, np.float32))
    assert (blend.result() == np.float32(value)).all()


@given(height=SIDES, width=SIDES, window=st.integers(2, 30), overlap=st.integers(0, 29), seed=st.integers(0, 9))
def test_a_blend_is_the_weighted_mean(height: int, width: int, window: int, overlap: int, seed: int) -> None:
    """Against a plain sum over all windows in float64."""
    overlap %= window
    windows = Windows(height, width, window, overlap)
    rng = np.random.default_rng(seed)
    blend, weight = Blend(windows, 1), weights(window, overlap).astype(float)
    total, share = np.zeros((height + window, width + window)), np.zeros((height + window, width + window))
    for top, left in windows:
        votes = rng.random((window, window, 1), np.float32)
        blend.add((top, left), votes)
        total[top : top + window, left : left + window] += weight * votes[..., 0]
        share[top : top + window, left : left + window] += weight
    expected = total[:height, :width] / share[:height, :width]
    assert np.allclose(blend.result()[..., 0], expected, atol=1e-6)


@given(window=st.integers(1, 300), share=st.floats(0, 0.99))
def test_weights_never_reach_zero(window: int, share: float) -> None:
    assert weights(window, overlap_pixels(window, share)).min() >= 1


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 9), (9, 3), (8, 8)])
def test_small_pictures_are_mirrored_outwards(height: int, width: int) -> None:
    image = np.arange(height * width).reshape(height, width)
    cut = Windows(height, width, 8, 2).cut(image, (0, 0))
    assert cut.shape == (8, 8)
    assert np.array_equal(cut[:height, :width], image[:8, :8])
    assert set(np.unique(cut)) <= set(np.unique(image))


def test_an_overlap_that_never_moves_on_is_refused() -> None:
    with pytest.raises(InputError, match="expected fewer pixels than the window's 8"):
        overlap_pixels(8, 8)

"""The project's own PNG writer against Pillow's reader."""

from __future__ import annotations

import io

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from segbatch.evaluation.counts import class_pixels, confusion, tally
from segbatch.inference.png import encode_mask


@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 3), st.integers(0, 2**32 - 1), st.booleans())
def test_pillow_reads_what_was_written(height: int, width: int, times: int, seed: int, colored: bool) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 5, (height, width)).astype(np.uint8).repeat(times, axis=0)
    palette = rng.integers(0, 256, 15).astype(np.uint8).tobytes() if colored else None
    picture = Image.open(io.BytesIO(encode_mask(pixels, palette)))
    picture.load()
    assert picture.mode == ("P" if colored else "L")
    assert np.array_equal(np.asarray(picture), pixels)
    if palette is not None:
        table = np.frombuffer(palette, np.uint8).reshape(-1, 3)
        assert np.array_equal(np.asarray(picture.convert("RGB")), table[pixels])


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_sixteen_bits_too(height: int, width: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 2**16, (height, width)).astype(np.uint16).repeat(2, axis=0)
    picture = Image.open(io.BytesIO(encode_mask(pixels)))
    assert np.array_equal(np.asarray(picture), pixels)


def test_a_mask_at_twice_the_network_s_size_is_hardly_larger() -> None:
    mask = np.random.default_rng(0).integers(0, 4, (64, 128)).astype(np.uint8)
    assert len(encode_mask(mask.repeat(2, axis=0))) < 1.1 * len(encode_mask(mask))


def test_a_view_of_a_larger_map_is_written_as_it_is_seen() -> None:
    large = np.arange(200, dtype=np.uint8).reshape(10, 20)
    picture = Image.open(io.BytesIO(encode_mask(large[2:7, 3:9])))
    assert np.array_equal(np.asarray(picture), large[2:7, 3:9])


@given(st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_one_pass_counts_what_two_do(classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, (9, 7)).astype(np.uint8)
    truth[rng.random((9, 7)) < 0.2] = 255
    predicted = rng.integers(0, classes, (9, 7)).astype(np.uint8)
    counts, pixels = tally(truth, predicted, classes)
    expected = np.zeros((classes, classes + 1), np.int64)
    for true, guess in zip(truth.ravel(), predicted.ravel(), strict=True):
        if true != 255:
            expected[true, guess] += 1
    assert np.array_equal(counts, expected)
    assert np.array_equal(counts, confusion(truth, predicted, classes))
    assert np.array_equal(pixels, class_pixels(predicted, classes))

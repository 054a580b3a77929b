"""Decoding by content: equal to Pillow, or refused."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from segbatch.data import decode
from segbatch.data.decode import ImageFormat
from segbatch.data.reasons import explain
from tests.support.labels import TWO_CLASSES
from tests.support.traps import Trap, encoded, photograph, traps

pytestmark = pytest.mark.tensorflow

THREE = ImageFormat(3, 8, "accurate")


def decode_image(content: tf.Tensor, fmt: ImageFormat) -> tf.Tensor:
    """Decode inside a graph, as streams do."""
    return tf.function(lambda data: decode.decode_image(data, fmt))(content)


def decode_mask(content: tf.Tensor, table: bytes) -> tf.Tensor:
    """Decode inside a graph, as streams do."""
    return tf.function(lambda data: decode.decode_mask(data, table))(content)


def file_of(trap: Trap, folder: Path) -> Path:
    path = folder / trap.name
    path.write_bytes(trap.content)
    return path


@pytest.mark.parametrize("trap", traps(), ids=lambda trap: trap.name)
def test_every_trap_is_right_or_refused_with_its_reason(trap: Trap, tmp_path: Path) -> None:
    if not trap.reason:
        decoded = decode_image(tf.constant(trap.content), THREE).numpy()
        # CMYK is turned into RGB with other rounding than Pillow's; all else is equal to the bit.
        limit = 1 if trap.name == "cmyk.jpg" else 0
        assert np.abs(decoded.astype(int) - trap.expected.astype(int)).max() <= limit
        return
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode_image(tf.constant(trap.content), THREE)
    assert trap.reason in explain(file_of(trap, tmp_path), None, THREE, None)


@pytest.mark.data
def test_accurate_equals_pillow_on_real_tiles_and_fast_is_near(shared_data: Path) -> None:
    fast = ImageFormat(3, 8, "fast")
    for path in sorted((shared_data / "aerial_buildings" / "images").iterdir())[::40]:
        content = tf.constant(path.read_bytes())
        pillow = np.asarray(Image.open(path).convert("RGB"))
        assert np.array_equal(decode_image(content, THREE).numpy(), pillow), path
        assert np.abs(decode_image(content, fast).numpy().astype(int) - pillow).mean() < 8


@pytest.mark.parametrize(
    ("fmt", "picture", "message"),
    [
        (ImageFormat(1, 8, "accurate"), photograph(), "3 bands"),
        (ImageFormat(4, 8, "accurate"), photograph(), "3 bands"),
        (ImageFormat(3, 16, "accurate"), photograph(), "8-bit"),
    ],
)
def test_bands_and_bits_that_do_not_fit_are_refused(
    fmt: ImageFormat, picture: Image.Image, message: str, tmp_path: Path
) -> None:
    content = encoded(picture, "PNG")
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode_image(tf.constant(content), fmt)
    assert message in explain(file_of(Trap("x.png", content), tmp_path), None, fmt, None)


def test_16_bits_stay_16_bits() -> None:
    values = (np.arange(64, dtype=np.uint16) * 1000).reshape(8, 8)
    decoded = decode_image(tf.constant(encoded(Image.fromarray(values), "PNG")), ImageFormat(1, 16, "accurate"))
    assert decoded.dtype == tf.uint16
    assert np.array_equal(decoded.numpy()[..., 0], values)


VALUES = (np.arange(64) % 3 // 2).astype(np.uint8).reshape(8, 8)
TABLE = TWO_CLASSES.raw_to_index()


def palette_mask() -> Image.Image:
    picture = Image.fromarray(VALUES)
    picture.putpalette([200, 10, 10, 17, 170, 90])
    return picture


@pytest.mark.parametrize(
    "picture",
    [
        Image.fromarray(VALUES),
        Image.fromarray(VALUES * 255),
        palette_mask(),
        Image.fromarray(VALUES * 255).convert("1"),
        Image.fromarray(VALUES * 255).convert("RGB"),
    ],
    ids=["ids", "raw", "palette", "one bit", "equal channels"],
)
def test_masks_of_every_kind_give_the_same_indices(picture: Image.Image) -> None:
    """A palette gives its numbers and not the colours they stand for."""
    assert np.array_equal(decode_mask(tf.constant(encoded(picture, "PNG")), TABLE).numpy(), VALUES)


def test_jpeg_masks_are_cut_where_the_labels_say() -> None:
    stripes = np.repeat(np.repeat(VALUES, 5, 0), 5, 1)
    table = bytes(128) + bytes([1]) * 128
    content = encoded(Image.fromarray(stripes * 255), "JPEG", quality=70)
    assert len(np.unique(np.asarray(Image.open(io.BytesIO(content))))) > 2, "no ringing, no test"
    assert np.array_equal(decode_mask(tf.constant(content), table).numpy(), stripes)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.full((8, 8), 7), "values that no class claims: 7 (64 pixels)"),
        (np.stack([VALUES, VALUES * 9, VALUES], -1), "mask of colours"),
        (np.zeros((8, 9)), "9 x 8 pixels"),
    ],
)
def test_masks_that_say_nothing_clear_are_refused(pixels: np.ndarray, message: str, tmp_path: Path) -> None:
    image = file_of(Trap("image.png", encoded(Image.new("RGB", (8, 8)), "PNG")), tmp_path)
    content = encoded(Image.fromarray(pixels.astype(np.uint8)), "PNG")
    mask = file_of(Trap("mask.png", content), tmp_path)
    assert message in explain(image, mask, THREE, TABLE)
    if pixels.shape != (8, 9):
        with pytest.raises(tf.errors.InvalidArgumentError):
            decode_mask(tf.constant(content), TABLE)

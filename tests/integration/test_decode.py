"""Decoding by content: equal to Pillow, or refused."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Literal

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
        assert np.array_equal(decoded, trap.expected)
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


PALETTE = photograph().quantize(12)


@pytest.mark.parametrize(
    "content",
    [
        encoded(PALETTE, "BMP"),
        encoded(photograph().convert("1"), "BMP"),
        encoded(photograph().convert("L"), "BMP"),
        encoded(photograph().convert("RGBA"), "BMP"),
        encoded(PALETTE, "GIF", transparency=2),
        encoded(PALETTE, "GIF", save_all=True, append_images=[PALETTE.rotate(90)]),
        encoded(PALETTE, "PNG", transparency=2),
        encoded(photograph().convert("LA"), "PNG"),
        encoded(photograph().convert("L"), "PNG", transparency=9),
        encoded(photograph().quantize(4), "PNG", bits=2),
    ],
)
def test_rare_kinds_equal_pillow(content: bytes) -> None:
    """TensorFlow alone loses a BMP's palette and a GIF's transparent pixels, and refuses one-bit BMPs."""
    decoded = decode_image(tf.constant(content), THREE).numpy()
    assert np.array_equal(decoded, Trap("", content).expected)


@pytest.mark.parametrize("bands", [1, 3, 4])
def test_pictures_for_models_of_other_bands(bands: Literal[1, 3, 4]) -> None:
    """Grey from JPEG, PNG, BMP for one band; four bands from an RGBA PNG alone."""
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[bands]
    picture = photograph().convert(mode)
    if bands == 4:
        picture.putalpha(photograph().convert("L"))
    for kind in {1: ("JPEG", "PNG", "BMP"), 3: ("JPEG", "PNG", "BMP", "GIF"), 4: ("PNG",)}[bands]:
        content = encoded(picture, kind)
        decoded = decode_image(tf.constant(content), ImageFormat(bands)).numpy()
        pillow = np.asarray(Image.open(io.BytesIO(content)).convert(mode))
        assert np.array_equal(decoded, pillow.reshape(decoded.shape)), kind
    for kind in {1: ("JPEG", "PNG", "BMP", "GIF"), 3: (), 4: ("JPEG", "PNG", "BMP", "GIF")}[bands]:
        with pytest.raises(tf.errors.InvalidArgumentError):
            decode_image(tf.constant(encoded(photograph(), kind)), ImageFormat(bands))


def png_of_16_bits(values: np.ndarray) -> bytes:
    """Return an RGB PNG of 16 bits, which Pillow cannot write; values uint16 [H, W, 3]."""

    def part(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", zlib.compress(rows)) + part(b"IEND", b"")


def test_16_bit_colour_keeps_its_values() -> None:
    values = np.random.default_rng(0).integers(0, 65536, (5, 7, 3)).astype(np.uint16)
    content = tf.constant(png_of_16_bits(values))
    assert np.array_equal(decode_image(content, ImageFormat(3, 16)).numpy(), values)
    for fmt in (THREE, ImageFormat(1, 16), ImageFormat(4, 16)):
        with pytest.raises(tf.errors.InvalidArgumentError):
            decode_image(content, fmt)
    for kind in ("JPEG", "BMP"):
        with pytest.raises(tf.errors.InvalidArgumentError):
            decode_image(tf.constant(encoded(photograph(), kind)), ImageFormat(3, 16))


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


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (4, 4), (1, 9)])
@pytest.mark.parametrize("kind", ["PNG", "BMP"])
def test_every_value_goes_through_the_table(shape: tuple[int, int], kind: str) -> None:
    """Odd and even numbers of pixels, against NumPy."""
    rng = np.random.default_rng(1)
    table = bytes(rng.permutation(np.r_[0:254, 255, 255]).astype(np.uint8))
    values = rng.integers(0, 256, shape).astype(np.uint8)
    decoded = decode_mask(tf.constant(encoded(Image.fromarray(values), kind)), table).numpy()
    assert np.array_equal(decoded, np.frombuffer(table, np.uint8)[values])


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palettes_of_any_depth_give_their_numbers(bits: int) -> None:
    values = (np.arange(63).reshape(7, 9) % 2**bits).astype(np.uint8)
    picture = Image.fromarray(values)
    picture.putpalette(list(range(255, 255 - 3 * min(2**bits, 64), -1)))
    content = encoded(picture, "PNG", bits=bits)
    assert content[24:26] == bytes([bits, 3]), "not the file that is meant"
    assert np.array_equal(decode_mask(tf.constant(content), bytes(range(254)) + b"\xff\xff").numpy(), values)


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

"""Picture files to tensors, inside the graph; what a file is shows in its content, never in its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from segbatch.data import formats, pictures
from segbatch.data.faults import PictureError
from segbatch.data.formats import ImageFormat
from segbatch.spec.labels import UNCLAIMED

__all__ = ["ImageFormat", "decode_image", "decode_mask"]


def decode_image(content: tf.Tensor, fmt: ImageFormat) -> tf.Tensor:
    """Decode a JPEG, PNG, GIF (first frame), BMP or TIFF (first page) file.

    Grey and palette pictures widen to 3 bands; alpha is dropped for 3 bands and for 1. CMYK becomes RGB. With
    `decode: accurate` the result equals Pillow's (but for CMYK files without Adobe's marker, which Pillow takes for
    inverted all the same).

    Args:
        content: string scalar, the whole file.
        fmt: bands and bits that the model takes, and how JPEG is decoded.

    Returns:
        [H, W, bands], uint8, or uint16 where `fmt.depth` is 16.

    Raises:
        tf.errors.InvalidArgumentError: from the graph, when the file is damaged, of another kind, or has other bands
            or bits than the model takes.
    """
    image = _by_kind(
        content,
        jpeg=lambda: _jpeg_image(content, fmt),
        png=lambda: _png_image(content, fmt),
        other=lambda: _other_image(content, fmt),
    )
    return tf.ensure_shape(image, [None, None, fmt.bands])


def decode_mask(content: tf.Tensor, table: bytes) -> tf.Tensor:
    """Decode a mask and map its raw values to class indices.

    Grey masks of 1 to 8 bits give their grey (one bit: 0 and 255), palette masks their palette's indices, masks of
    three equal channels the first of them.

    Args:
        content: string scalar, the whole file.
        table: 256 bytes, raw value to class index, IGNORED (255) or UNCLAIMED (254).

    Returns:
        uint8 [H, W], class indices and IGNORED.

    Raises:
        tf.errors.InvalidArgumentError: from the graph, when the file is damaged, holds colours or more than 8 bits, or
            a value that no class claims.
    """
    raw = _by_kind(
        content,
        jpeg=lambda: _first_of_equal(_jpeg(content, 3, dct_method="INTEGER_ACCURATE")),
        png=lambda: _png_mask(content),
        other=lambda: _other_mask(content),
    )
    raw = tf.ensure_shape(raw, [None, None])
    return _look_up(raw, table)


def _by_kind(
    content: tf.Tensor,
    *,
    jpeg: Callable[[], tf.Tensor],
    png: Callable[[], tf.Tensor],
    other: Callable[[], tf.Tensor],
) -> tf.Tensor:
    def starts(signature: bytes) -> tf.Tensor:
        return tf.equal(tf.strings.substr(content, 0, len(signature)), signature)

    def neither() -> tf.Tensor:
        rare = (formats.GIF_SIGNATURE, formats.BMP_SIGNATURE, *formats.TIFF_SIGNATURES)
        with _require(tf.reduce_any([starts(signature) for signature in rare]), formats.EXPECTED):
            return other()

    return tf.cond(
        starts(formats.JPEG_SIGNATURE),
        jpeg,
        lambda: tf.cond(starts(formats.PNG_SIGNATURE), png, neither),
    )


def _require(condition: tf.Tensor, message: str) -> Any:
    return tf.control_dependencies([tf.debugging.Assert(condition, [message])])


def _within_limit(content: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Return the file, or nothing, which fails to decode, where its pixels would take too much memory."""
    # Few and simple operations, since they are done for every tile; an assertion would cost more than all of them.
    pixels = tf.reduce_prod(tf.cast(size, tf.float32))
    return tf.strings.substr(content, 0, tf.where(pixels <= formats.MOST_PIXELS, tf.strings.length(content), 0))


def _jpeg(content: tf.Tensor, channels: int, **how: Any) -> tf.Tensor:
    size = tf.io.extract_jpeg_shape(content)[:2]
    return tf.io.decode_jpeg(_within_limit(content, size), channels=channels, **how)


def _png(content: tf.Tensor, channels: int, dtype: tf.DType = tf.uint8) -> tf.Tensor:
    size = tf.io.decode_raw(tf.strings.substr(content, formats.PNG_SIZE_BYTE, 8), tf.int32, little_endian=False)
    return tf.io.decode_png(_within_limit(content, size), channels=channels, dtype=dtype)


def _jpeg_image(content: tf.Tensor, fmt: ImageFormat) -> tf.Tensor:
    fast = fmt.decode == "fast"

    def decode(channels: int) -> tf.Tensor:
        method = "INTEGER_FAST" if fast else "INTEGER_ACCURATE"
        return _jpeg(content, channels, dct_method=method, fancy_upscaling=not fast)

    if fmt.depth != 8 or fmt.bands not in (1, 3):
        return _refused(fmt, f"JPEG has 8 bits and at most 3 bands; expected {fmt.depth} bits and {fmt.bands} bands")
    if fmt.bands == 3:
        return decode(3)
    bands = tf.io.extract_jpeg_shape(content)[2]
    with _require(tf.equal(bands, 1), "colour JPEG for a model of 1 band"):
        return decode(1)


def _png_image(content: tf.Tensor, fmt: ImageFormat) -> tf.Tensor:
    if fmt.bands not in formats.PICTURE_BANDS:
        return _refused(fmt, f"PNG has 1, 3 or 4 bands; expected {fmt.bands}")
    depth, color = _png_header(content)
    right_depth = tf.equal(depth, 16) if fmt.depth == 16 else tf.less_equal(depth, 8)
    kinds = {
        1: (formats.PNG_GREY, formats.PNG_GREY_ALPHA),
        3: (formats.PNG_GREY, formats.PNG_RGB, formats.PNG_PALETTE, formats.PNG_GREY_ALPHA, formats.PNG_RGBA),
        4: (formats.PNG_RGBA,),
    }[fmt.bands]
    right_bands = tf.reduce_any(tf.equal(color, tf.constant(kinds, tf.uint8)))
    with _require(right_depth, f"expected a PNG of {fmt.depth} bits"), _require(right_bands, "PNG with other bands"):
        return _png(content, fmt.bands, _dtype(fmt))


def _png_header(content: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Bits of a sample, and colour type."""
    header = tf.io.decode_raw(tf.strings.substr(content, 0, formats.HEAD_BYTES), tf.uint8)
    return header[formats.PNG_DEPTH_BYTE], header[formats.PNG_COLOR_BYTE]


def _other_image(content: tf.Tensor, fmt: ImageFormat) -> tf.Tensor:
    # TensorFlow ignores a BMP's palette and a GIF's transparent background, and reads no TIFF.
    return tf.numpy_function(_image_outside, [content, fmt.bands, fmt.depth], _dtype(fmt), stateful=False)


def _refused(fmt: ImageFormat, message: str) -> tf.Tensor:
    with _require(tf.constant(False), message):
        return tf.zeros([1, 1, fmt.bands], _dtype(fmt))


def _png_mask(content: tf.Tensor) -> tf.Tensor:
    depth, color = _png_header(content)
    grey = tf.logical_or(tf.equal(color, formats.PNG_GREY), tf.equal(color, formats.PNG_GREY_ALPHA))

    def of_grey() -> tf.Tensor:
        return _png(content, 1)[..., 0]

    def of_colors() -> tf.Tensor:
        return _first_of_equal(_png(content, 3))

    with _require(tf.less_equal(depth, 8), "expected a mask of 8 bits"):
        # TensorFlow turns a palette into its colours, and their grey is not the class.
        return tf.cond(
            grey,
            of_grey,
            lambda: tf.cond(tf.equal(color, formats.PNG_PALETTE), lambda: _other_mask(content), of_colors),
        )


def _first_of_equal(pixels: tf.Tensor) -> tf.Tensor:
    first = pixels[..., :1]
    with _require(tf.reduce_all(tf.equal(pixels, first)), "expected a mask of one value a pixel, received colours"):
        return first[..., 0]


def _other_mask(content: tf.Tensor) -> tf.Tensor:
    return tf.numpy_function(_mask_outside, [content], tf.uint8, stateful=False)


def _image_outside(content: bytes, bands: int, depth: int) -> NDArray[Any]:
    values = pictures.to_bands(_open(content), int(bands))
    if values.dtype.itemsize * 8 != depth:
        raise PictureError(f"{values.dtype.itemsize * 8}-bit image, where the model takes {depth} bits")
    return values


def _mask_outside(content: bytes) -> NDArray[np.uint8]:
    return pictures.raw_mask(_open(content))


def _open(content: bytes) -> Any:
    try:
        return pictures.open_picture(content)
    except MemoryError:
        raise
    except Exception as error:
        # Pillow raises nearly anything; only a ValueError becomes an InvalidArgumentError.
        raise PictureError(str(error)) from error


def _look_up(raw: tf.Tensor, table: bytes) -> tf.Tensor:
    claimed = table.find(UNCLAIMED)
    if claimed > 0 and table == bytes(range(claimed)) + bytes([UNCLAIMED]) * (len(table) - claimed):
        # Raw values that are the indices already only need to be checked.
        with _require(tf.reduce_max(raw) < claimed, "mask values that no class claims"):
            return tf.identity(raw)
    # Two pixels at a time, through a table of 65536 pairs: half the time of one by one.
    single = np.frombuffer(table, np.uint8).astype(np.uint16)
    pair = np.arange(65536)
    pairs = tf.constant(single[pair & 255] | single[pair >> 8] << 8, tf.uint16)
    count = tf.size(raw)
    even = tf.pad(tf.reshape(raw, [-1]), [[0, count % 2]])
    found = tf.gather(pairs, tf.cast(tf.bitcast(tf.reshape(even, [-1, 2]), tf.uint16), tf.int32))
    index = tf.reshape(tf.reshape(tf.bitcast(found, tf.uint8), [-1])[:count], tf.shape(raw))
    if UNCLAIMED not in table:
        return index
    with _require(tf.reduce_all(tf.not_equal(index, UNCLAIMED)), "mask values that no class claims"):
        return tf.identity(index)


def _dtype(fmt: ImageFormat) -> tf.DType:
    return tf.uint16 if fmt.depth == 16 else tf.uint8

"""A tile and its truth, read within the graph; what all streams have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

from segbatch.data.decode import ImageFormat, decode_image, decode_mask
from segbatch.data.regions import REGION_TABLE
from segbatch.spec.labels import IGNORED

Size = tuple[int, int]
"""Height and width."""
Read = Callable[[tf.Tensor], tf.Tensor]
"""From a path, string scalar, to the file's content."""
NO_TRUTH = np.uint8(IGNORED)

_Graph = TypeVar("_Graph", bound=Callable[..., Any])
as_written: Callable[[_Graph], _Graph] = tf.autograph.experimental.do_not_convert
"""For functions of tensors alone, which need not be translated: that takes seconds of a task's start."""


def read_pair(
    image_path: tf.Tensor,
    mask_path: tf.Tensor,
    fmt: ImageFormat,
    table: bytes | None,
    size: Size | None,
    read_file: Read,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Read an image and its mask of the same size.

    Args:
        image_path: string scalar.
        mask_path: string scalar; empty for none.
        fmt: what the model takes.
        table: raw mask value to class index, 256 bytes; None leaves the mask unread.
        size: height and width that the tile must have; None for any.
        read_file: how files are read.

    Returns:
        Image, uint8 or uint16 [H, W, bands]; truth, uint8 [H, W], class indices, all IGNORED without a mask.

    Raises:
        tf.errors.OpError: from the graph, when one of them cannot be read or does not fit.
    """
    image = decode_image(read_file(image_path), fmt)
    shape = tf.shape(image)[:2]
    if size is not None:
        with tf.control_dependencies([tf.debugging.assert_equal(shape, size)]):
            image = tf.ensure_shape(tf.identity(image), [*size, fmt.bands])
    if table is None:
        return image, tf.fill(shape, NO_TRUTH)

    # One after the other: readers are tiles, and two halves of a tile on two threads cost more than they gain.
    with tf.control_dependencies([image]):
        mask_path = tf.identity(mask_path)

    def read() -> tf.Tensor:
        truth = decode_mask(read_file(mask_path), table)
        with tf.control_dependencies([tf.debugging.assert_equal(tf.shape(truth), shape)]):
            return tf.identity(truth)

    truth = tf.cond(tf.equal(mask_path, b""), lambda: tf.fill(shape, NO_TRUTH), read)
    return image, tf.ensure_shape(truth, image.shape[:2])


def within_region(truth: tf.Tensor, path: tf.Tensor, read_file: Read) -> tf.Tensor:
    """Ignore the truth, uint8 [H, W], outside the labelled region that a mask of its size shows."""
    with tf.control_dependencies([truth]):
        region = decode_mask(read_file(tf.identity(path)), REGION_TABLE)
    with tf.control_dependencies([tf.debugging.assert_equal(tf.shape(region), tf.shape(truth))]):
        return tf.ensure_shape(tf.maximum(truth, region), truth.shape)


def dtype_of(fmt: ImageFormat) -> tf.DType:
    """Return the type of the pixels that the model takes."""
    return tf.uint16 if fmt.depth == 16 else tf.uint8


def options() -> tf.data.Options:
    """Return what every stream keeps to: its order, and the numbers that it was given."""
    chosen = tf.data.Options()
    chosen.deterministic = True
    # Tuning would only take time and lose the bound on memory.
    chosen.autotune.enabled = False
    return chosen

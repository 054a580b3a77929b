"""Folders of tiles as tf.data streams, for predicting and for training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from segbatch.data.augment import apply
from segbatch.data.decode import ImageFormat, decode_image, decode_mask
from segbatch.data.resize import resize_image, resize_mask
from segbatch.spec.labels import IGNORED
from segbatch.spec.training import AugmentStep

Slot = tuple[int, bytes, bytes]
Pair = tuple[bytes, bytes]


def tile_stream(
    slots: Sequence[Slot],
    fmt: ImageFormat,
    table: bytes | None,
    *,
    batch_size: int,
    readers: int,
    size: tuple[int, int] | None = None,
) -> tf.data.Dataset:
    """Stream tiles in batches whose slots never move.

    Slot i of batch k is always tile `slots[k * batch_size + i]`: a tile that cannot be read leaves its slot empty.
    What a batch holds is therefore a fixed range of the tile list, whatever was done before or failed.

    Args:
        slots: index (-1: nothing), image path, mask path (empty: none); a multiple of `batch_size` of them.
        fmt: what the network takes.
        table: raw mask value -> class index, 256 bytes; None where there is no truth at all.
        batch_size: number B of slots in a batch.
        readers: tiles read at once.
        size: height and width that every tile must have; None for any.

    Returns:
        Dataset of dicts: `index` int64 [B]; `image` uint8 or uint16 [B, H, W, bands], zero beyond a tile; `size`
        int32 [B, 2], 0, 0 for empty slots; `truth` uint8 [B, H, W], 255 where there is none.
    """
    indices, images, masks = zip(*slots, strict=True)
    dtype = tf.uint8 if fmt.depth == 8 else tf.uint16
    no_truth = tf.constant(IGNORED, tf.uint8)

    def load(index: tf.Tensor, image: tf.Tensor, mask: tf.Tensor) -> dict[str, tf.Tensor]:
        pixels = decode_image(tf.io.read_file(image), fmt)
        shape = tf.shape(pixels)[:2]
        if size is not None:
            tf.debugging.assert_equal(shape, tf.constant(size), "tile of another size")
        truth = tf.fill(shape, no_truth)
        if table is not None:
            truth = tf.cond(tf.equal(mask, b""), lambda: truth, lambda: decode_mask(tf.io.read_file(mask), table))
        with tf.control_dependencies([tf.debugging.assert_equal(tf.shape(truth), shape, "mask of another size")]):
            return {"index": index, "image": pixels, "size": tf.identity(shape), "truth": truth}

    def empty(index: tf.Tensor, image: tf.Tensor, mask: tf.Tensor) -> dict[str, tf.Tensor]:
        return {
            "index": index,
            "image": tf.zeros([0, 0, fmt.bands], dtype),
            "size": tf.zeros([2], tf.int32),
            "truth": tf.zeros([0, 0], tf.uint8),
        }

    def one(index: tf.Tensor, image: tf.Tensor, mask: tf.Tensor) -> tf.data.Dataset:
        slot = tf.data.Dataset.from_tensors((index, image, mask))
        return slot.map(load).ignore_errors().concatenate(slot.map(empty)).take(1)

    listed = tf.data.Dataset.from_tensor_slices((np.array(indices, np.int64), list(images), list(masks)))
    tiles = listed.interleave(one, cycle_length=readers, num_parallel_calls=readers, deterministic=True)
    batches = tiles.padded_batch(
        batch_size,
        padded_shapes={"index": [], "image": [None, None, fmt.bands], "size": [2], "truth": [None, None]},
        padding_values={
            "index": tf.constant(-1, tf.int64),
            "image": tf.constant(0, dtype),
            "size": tf.constant(0, tf.int32),
            "truth": no_truth,
        },
        drop_remainder=True,
    )
    return batches.prefetch(2)


def epoch_order(count: int, seed: int, epoch: int) -> np.ndarray:
    """Order of the samples in one epoch: int64 [count], a permutation that depends on seed and epoch alone."""
    return np.random.Generator(np.random.PCG64([seed, epoch])).permutation(count).astype(np.int64)


def sample_stream(
    pairs: Sequence[Pair],
    fmt: ImageFormat,
    table: bytes,
    *,
    order: np.ndarray,
    size: tuple[int, int],
    resize: str,
    augment: Sequence[AugmentStep],
    batch_size: int,
    seed: int,
    epoch: int,
    readers: int,
) -> tf.data.Dataset:
    """Stream training samples: list -> read -> decode -> resize -> augment -> batch -> prefetch.

    A sample that cannot be read is left out; the consumer sees from the missing index which one it was.

    Args:
        pairs: paths of image and mask.
        fmt: what the network takes.
        table: raw mask value -> class index, 256 bytes.
        order: int64 positions in `pairs`, in the order to read them.
        size: height and width to resize to.
        resize: bilinear, area or lanczos3; masks take the nearest pixel.
        augment: operations, in order.
        batch_size: samples in a batch; the last may be shorter.
        seed: with `epoch` and the sample's position decides on its augmentation.
        epoch: number of the epoch.
        readers: samples read at once.

    Returns:
        Dataset of dicts: `index` int64 [b], `image` float32 [b, h, w, bands] in the file's own range, `truth` uint8
        [b, h, w].
    """
    images, masks = (np.array(side, object)[order].tolist() for side in zip(*pairs, strict=True))

    def load(index: tf.Tensor, image: tf.Tensor, mask: tf.Tensor) -> dict[str, tf.Tensor]:
        pixels = decode_image(tf.io.read_file(image), fmt)
        truth = decode_mask(tf.io.read_file(mask), table)
        same = tf.debugging.assert_equal(tf.shape(truth), tf.shape(pixels)[:2], "mask of another size")
        with tf.control_dependencies([same]):
            pixels = resize_image(pixels, size, resize)
            truth = resize_mask(truth, size)
        pixels, truth = apply(augment, pixels, truth, tf.stack([tf.constant(seed, tf.int64), index * 2**20 + epoch]))
        return {
            "index": index,
            "image": tf.ensure_shape(pixels, [*size, fmt.bands]),
            "truth": tf.ensure_shape(truth, size),
        }

    return (
        tf.data.Dataset.from_tensor_slices((order, images, masks))
        .map(load, num_parallel_calls=readers, deterministic=True)
        .ignore_errors()
        .batch(batch_size)
        .prefetch(2)
    )

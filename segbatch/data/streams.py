"""Lists of tiles as tf.data streams, for predicting and for training."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Literal, TypeVar

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from segbatch.data.augment import apply
from segbatch.data.contents import any_packed, read_contents
from segbatch.data.decode import ImageFormat, decode_image, decode_mask
from segbatch.data.order import epoch_key, epoch_order
from segbatch.data.pairs import Pair
from segbatch.data.rasters import need_rasterio
from segbatch.data.regions import REGION_TABLE
from segbatch.data.resize import resize_image, resize_mask
from segbatch.spec.augmentation import AugmentStep
from segbatch.spec.labels import IGNORED

__all__ = ["Pair", "Slot", "epoch_order", "sample_stream", "tile_stream"]

Slot = tuple[int, bytes, bytes]
"""Index of a tile (-1: nothing), its image's path, its mask's path (empty: none)."""
Size = tuple[int, int]
Read = Callable[[tf.Tensor], tf.Tensor]
"""From a path, string scalar, to the file's content."""
Loader = Callable[[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
"""From the paths of image, mask and labelled region, and a seed (int64 [2]), to image and truth."""

_MOST_BATCHES_AT_ONCE = 4
_Graph = TypeVar("_Graph", bound=Callable[..., Any])
_as_written: Callable[[_Graph], _Graph] = tf.autograph.experimental.do_not_convert
"""For functions of tensors alone, which need not be translated: that takes seconds of a task's start."""
_NO_TRUTH = np.uint8(IGNORED)


def tile_stream(
    slots: Sequence[Slot],
    fmt: ImageFormat,
    table: bytes | None,
    *,
    batch_size: int,
    readers: int,
    size: Size | None = None,
) -> tf.data.Dataset:
    """Stream tiles in batches whose slots never move.

    INVARIANT: slot i of batch k is `slots[k * batch_size + i]`, whatever failed and wherever a task began. A tile that
    cannot be read (or whose mask does not fit it) leaves its slot blank and harms no other, so what a batch holds is
    a fixed range of the tile list, and results do not depend on what was done before.

    A batch is read as a whole, which costs next to nothing over a plain map and batch; only when that fails is it
    read again slot by slot. Up to 12 batches (5 with 16 readers and batches of 16) wait in memory.

    Args:
        slots: a multiple of `batch_size` of them; 100,000 take 0.1 s to list and 30 MB.
        fmt: what the model takes.
        table: raw mask value to class index, 256 bytes; None leaves masks unread.
        batch_size: number B of slots in a batch.
        readers: tiles read and decoded at once.
        size: height and width that every tile has, others count as unreadable; None for any.

    Returns:
        Dataset of dicts: `index` int64 [B]; `image` uint8 or uint16 [B, H, W, bands], H and W those of the batch's
        largest tile, zero beyond a tile; `size` int32 [B, 2], height and width, 0 and 0 for blank slots; `truth` uint8
        [B, H, W], class indices, 255 where there are none.

    Raises:
        ValueError: the number of slots is no multiple of `batch_size`.
        InputError: there are TIFF files, and no rasterio.
    """
    need_rasterio(fmt.bands, (image for _, image, _ in slots))
    if len(slots) % batch_size:
        raise ValueError(f"expected a multiple of {batch_size} slots, received {len(slots)}")
    packed = any_packed(path for slot in slots for path in slot[1:])
    # What is packed is read a batch at a time, so that from there on contents stand in the paths' place.
    read: Read = tf.identity if packed else tf.io.read_file

    @_as_written
    def load(index: tf.Tensor, image_path: tf.Tensor, mask_path: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.control_dependencies([tf.debugging.assert_non_negative(index)]):
            image, truth = _read_pair(image_path, mask_path, fmt, table, size, read)
        return {"index": index, "image": image, "size": tf.shape(image)[:2], "truth": truth}

    @_as_written
    def blank(index: tf.Tensor, image_path: tf.Tensor, mask_path: tf.Tensor) -> dict[str, tf.Tensor]:
        # One pixel, so that a batch of nothing but blanks still is a picture.
        height, width = size or (1, 1)
        return {
            "index": index,
            "image": tf.zeros([height, width, fmt.bands], _dtype(fmt)),
            "size": tf.zeros([2], tf.int32),
            "truth": tf.fill([height, width], _NO_TRUTH),
        }

    @_as_written
    def load_or_blank(*slot: tf.Tensor) -> tf.data.Dataset:
        one = tf.data.Dataset.from_tensors(slot)
        return one.map(load).ignore_errors().concatenate(one.map(blank)).take(1)

    @_as_written
    def one_by_one(*batch: tf.Tensor) -> tf.data.Dataset:
        return _padded(tf.data.Dataset.from_tensor_slices(batch).flat_map(load_or_blank), batch_size)

    @_as_written
    def read_batch(*batch: tf.Tensor) -> tf.data.Dataset:
        if packed:
            batch = (batch[0], read_contents(batch[1]), read_contents(batch[2]) if table is not None else batch[2])
        listed = tf.data.Dataset.from_tensor_slices(batch)
        # One bad tile leaves fewer than B, and drop_remainder drops those: all or nothing.
        loaded = listed.map(load, num_parallel_calls=inner, deterministic=True if inner else None)
        whole = _padded(loaded, batch_size).ignore_errors()
        return whole.concatenate(tf.data.Dataset.from_tensors(batch).flat_map(one_by_one)).take(1)

    outer, inner = _shared_out(readers, batch_size)
    columns = [np.array(column).reshape(-1, batch_size) for column in _columns(slots)]
    # Nothing within needs AutoGraph, whose rewriting of it all would take a third of a task's start.
    plain = tf.autograph.experimental.do_not_convert(read_batch)
    batches = tf.data.Dataset.from_tensor_slices(tuple(columns)).interleave(
        plain, cycle_length=outer, num_parallel_calls=outer, deterministic=True
    )
    counted = batches.apply(tf.data.experimental.assert_cardinality(len(slots) // batch_size))
    return counted.with_options(_options())


def _columns(slots: Sequence[Slot]) -> tuple[NDArray[np.int64], NDArray[np.object_], NDArray[np.object_]]:
    return (
        np.array([slot[0] for slot in slots], np.int64),
        np.array([slot[1] for slot in slots], object),
        np.array([slot[2] for slot in slots], object),
    )


def _shared_out(readers: int, batch_size: int) -> tuple[int, int | None]:
    """Batches read at once, and tiles of each (None: one after the other)."""
    inner = min(batch_size, math.ceil(readers / 2))
    outer = min(math.ceil(readers / inner), _MOST_BATCHES_AT_ONCE)
    return outer, inner if inner > 1 else None


def _padded(tiles: tf.data.Dataset, batch_size: int) -> tf.data.Dataset:
    padding = {"index": np.int64(-1), "size": np.int32(0), "truth": _NO_TRUTH}
    image = tf.zeros([], tiles.element_spec["image"].dtype)
    return tiles.padded_batch(batch_size, padding_values=padding | {"image": image}, drop_remainder=True)


def sample_stream(
    pairs: Sequence[Pair],
    fmt: ImageFormat,
    table: bytes,
    *,
    order: NDArray[np.int64],
    size: Size,
    resize: Literal["bilinear", "area", "lanczos3"],
    augment: Sequence[AugmentStep],
    batch_size: int,
    seed: int,
    epoch: int,
    readers: int,
    tile_size: Size | None = None,
) -> tf.data.Dataset:
    """Stream training samples: list -> read -> decode -> resize -> augment -> batch -> prefetch.

    A sample that cannot be read is left out; the indices that are missing say which ones. Everything else depends
    on the arguments alone: not on `readers`, nor on the samples before.

    Args:
        pairs: paths of images and masks, and of the labelled regions where truth is labelled in part.
        fmt: what the model takes.
        table: raw mask value to class index, 256 bytes.
        order: int64 positions in `pairs`, in the order to give them; the tail of an epoch's order goes on with it.
        size: height and width to bring samples to.
        resize: how, for images; masks take the nearest pixel.
        augment: steps, in order.
        batch_size: samples in a batch; the last may have fewer.
        seed: with `epoch` and the position in `pairs`, decides how a sample is augmented.
        epoch: number of the epoch.
        readers: samples read and decoded at once.
        tile_size: height and width that every tile has, others count as unreadable; None for any.

    Returns:
        Dataset of dicts: `index` int64 [b], positions in `pairs`; `image` float32 [b, h, w, bands], 0 to 255 (or
        65535), not normalised; `truth` uint8 [b, h, w], class indices, 255 where ignored.

    Raises:
        InputError: there are TIFF files, and no rasterio.
    """
    need_rasterio(fmt.bands, (pair[0] for pair in pairs))
    image_paths, mask_paths = (tf.constant([pair[side] for pair in pairs], tf.string) for side in (0, 1))
    region_paths = _region_paths(pairs)
    key = tf.constant(epoch_key(seed, epoch), tf.int64)
    packed = any_packed(path for pair in pairs for path in pair)
    load = _loader(fmt, table, size, resize, tuple(augment), tile_size, region_paths is not None, packed)

    def load_one(index: tf.Tensor) -> dict[str, tf.Tensor]:
        region_path = tf.constant(b"") if region_paths is None else region_paths[index]
        image, truth = load(image_paths[index], mask_paths[index], region_path, tf.stack([key, index]))
        return {"index": index, "image": image, "truth": truth}

    return (
        tf.data.Dataset.from_tensor_slices(np.asarray(order, np.int64))
        .map(tf.autograph.experimental.do_not_convert(load_one), num_parallel_calls=readers, deterministic=True)
        .ignore_errors()
        .batch(batch_size)
        .prefetch(2)
        .with_options(_options())
    )


@lru_cache(maxsize=8)
def _loader(
    fmt: ImageFormat,
    table: bytes,
    size: Size,
    resize: str,
    augment: tuple[AugmentStep, ...],
    tile_size: Size | None,
    regions: bool,
    packed: bool,
) -> Loader:
    """What brings one sample from its files, traced once for all epochs: tracing takes up to two seconds."""

    def load(
        image_path: tf.Tensor, mask_path: tf.Tensor, region_path: tf.Tensor, seed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        read: Read = tf.io.read_file
        if packed:
            image_path, mask_path, region_path = tf.unstack(
                read_contents(tf.stack([image_path, mask_path, region_path]))
            )
            read = tf.identity
        image, truth = _read_pair(image_path, mask_path, fmt, table, tile_size, read)
        if regions:
            truth = _within_region(truth, region_path, read)
        image, truth = resize_image(image, size, resize), resize_mask(truth, size)
        image, truth = apply(augment, image, truth, seed, float(2**fmt.depth - 1))
        return tf.ensure_shape(image, [*size, fmt.bands]), tf.ensure_shape(truth, size)

    path = tf.TensorSpec([], tf.string)
    signature = [path, path, path, tf.TensorSpec([2], tf.int64)]
    traced: Loader = tf.function(load, input_signature=signature, autograph=False)
    return traced


def _read_pair(
    image_path: tf.Tensor,
    mask_path: tf.Tensor,
    fmt: ImageFormat,
    table: bytes | None,
    size: Size | None,
    read_file: Read,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Read an image and its mask of the same size; a mask without path, or table, is all IGNORED."""
    image = decode_image(read_file(image_path), fmt)
    shape = tf.shape(image)[:2]
    if size is not None:
        with tf.control_dependencies([tf.debugging.assert_equal(shape, size)]):
            image = tf.ensure_shape(tf.identity(image), [*size, fmt.bands])
    if table is None:
        return image, tf.fill(shape, _NO_TRUTH)

    # One after the other: readers are tiles, and two halves of a tile on two threads cost more than they gain.
    with tf.control_dependencies([image]):
        mask_path = tf.identity(mask_path)

    def read() -> tf.Tensor:
        truth = decode_mask(read_file(mask_path), table)
        with tf.control_dependencies([tf.debugging.assert_equal(tf.shape(truth), shape)]):
            return tf.identity(truth)

    truth = tf.cond(tf.equal(mask_path, b""), lambda: tf.fill(shape, _NO_TRUTH), read)
    return image, tf.ensure_shape(truth, image.shape[:2])


def _region_paths(pairs: Sequence[Pair]) -> tf.Tensor | None:
    regions = [pair[2] for pair in pairs if len(pair) == 3]
    if regions and len(regions) != len(pairs):
        raise ValueError(f"expected all {len(pairs)} samples with a labelled region or none, received {len(regions)}")
    return tf.constant(regions, tf.string) if regions else None


def _within_region(truth: tf.Tensor, path: tf.Tensor, read_file: Read) -> tf.Tensor:
    """Ignore the truth outside the labelled region."""
    with tf.control_dependencies([truth]):
        region = decode_mask(read_file(tf.identity(path)), REGION_TABLE)
    with tf.control_dependencies([tf.debugging.assert_equal(tf.shape(region), tf.shape(truth))]):
        return tf.ensure_shape(tf.maximum(truth, region), truth.shape)


def _dtype(fmt: ImageFormat) -> tf.DType:
    return tf.uint16 if fmt.depth == 16 else tf.uint8


def _options() -> tf.data.Options:
    options = tf.data.Options()
    options.deterministic = True
    # Every number is given; tuning would only take time and lose the bound on memory.
    options.autotune.enabled = False
    return options

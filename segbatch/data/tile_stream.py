"""Lists of tiles as a stream of batches whose slots never move, for predicting."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from segbatch.data.contents import any_packed, read_contents
from segbatch.data.decode import ImageFormat
from segbatch.data.rasters import need_rasterio
from segbatch.data.reading import NO_TRUTH, Read, Size, as_written, dtype_of, options, read_pair

Slot = tuple[int, bytes, bytes]
"""Index of a tile (-1: nothing), its image's path, its mask's path (empty: none)."""
Batch = dict[str, tf.Tensor]
Loaded = tuple[NDArray[np.uint8 | np.uint16], NDArray[np.uint8]]
"""Image [H, W, bands] and truth [H, W]."""
_MOST_BATCHES_AT_ONCE = 4


class TileStream:
    """Streams tiles in batches; an iterable that may be gone through again.

    INVARIANT: slot i of batch k is `slots[k * batch_size + i]`, whatever failed and wherever a task began. A tile that
    cannot be read (or whose mask does not fit it) leaves its slot blank and harms no other, so what a batch holds is
    a fixed range of the tile list, and results do not depend on what was done before.

    A batch is read as a whole by tf.data, which leaves out those of which a tile fails. Such gaps show in the numbers
    of the batches that come, and are read again tile by tile. Both in one graph would be right too, but that takes
    three times as long to build, at the start of every task.

    Batches are dicts: `index` int64 [B]; `image` uint8 or uint16 [B, H, W, bands], H and W those of the batch's
    largest tile, zero beyond a tile; `size` int32 [B, 2], height and width, 0 and 0 for blank slots; `truth` uint8
    [B, H, W], class indices, 255 where there are none. Up to 12 of them (5 with 16 readers and batches of 16) wait in
    memory.

    Args:
        slots: a multiple of `batch_size` of them; 100,000 take 0.1 s to list and 30 MB.
        fmt: what the model takes.
        table: raw mask value to class index, 256 bytes; None leaves masks unread.
        batch_size: number B of slots in a batch.
        readers: tiles read and decoded at once.
        size: height and width that every tile has, others count as unreadable; None for any.

    Raises:
        ValueError: the number of slots is no multiple of `batch_size`.
        InputError: there are TIFF files, and no rasterio.
    """

    def __init__(
        self,
        slots: Sequence[Slot],
        fmt: ImageFormat,
        table: bytes | None,
        *,
        batch_size: int,
        readers: int,
        size: Size | None = None,
    ) -> None:
        need_rasterio(fmt.bands, (image for _, image, _ in slots))
        if len(slots) % batch_size:
            raise ValueError(f"expected a multiple of {batch_size} slots, received {len(slots)}")
        self._fmt, self._table, self._size = fmt, table, size
        self._batch_size, self._readers = batch_size, readers
        self._packed = any_packed(path for slot in slots for path in slot[1:])
        self._index = np.array([slot[0] for slot in slots], np.int64).reshape(-1, batch_size)
        self._images, self._masks = (
            np.array([slot[side] for slot in slots], object).reshape(-1, batch_size) for side in (1, 2)
        )
        self._whole = self._whole_batches()

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self._index)

    def __iter__(self) -> Iterator[Batch]:
        arriving = iter(self._whole)
        ahead: Batch | None = None
        with ThreadPoolExecutor(self._readers) as readers:
            for number in range(len(self)):
                ahead = ahead or next(arriving, None)
                if ahead is not None and ahead["index"].numpy()[0] == number * self._batch_size:
                    batch, ahead = self._blanked(number, ahead), None
                else:
                    batch = self._tile_by_tile(number, readers)
                yield batch | {"index": tf.constant(self._index[number])}

    def _whole_batches(self) -> tf.data.Dataset:
        """Make the stream of those batches of which every tile can be read; their `index` is the slots' position."""
        outer, inner = _shared_out(self._readers, self._batch_size)

        @as_written
        def load(position: tf.Tensor, image_path: tf.Tensor, mask_path: tf.Tensor) -> Batch:
            image, truth = self._load(image_path, mask_path)
            return {"index": position, "image": image, "size": tf.shape(image)[:2], "truth": truth}

        @as_written
        def read_batch(position: tf.Tensor, images: tf.Tensor, masks: tf.Tensor) -> tf.data.Dataset:
            if self._packed:
                images, masks = read_contents(images), masks if self._table is None else read_contents(masks)
            listed = tf.data.Dataset.from_tensor_slices((position, images, masks))
            # One bad tile leaves fewer than B, and drop_remainder drops those: all or nothing.
            loaded = listed.map(load, num_parallel_calls=inner, deterministic=True if inner else None)
            return _padded(loaded, self._batch_size).ignore_errors()

        positions = np.arange(self._index.size, dtype=np.int64).reshape(self._index.shape)
        columns = (positions, *(self._filled(paths) for paths in (self._images, self._masks)))
        return (
            tf.data.Dataset.from_tensor_slices(columns)
            .interleave(read_batch, cycle_length=outer, num_parallel_calls=outer, deterministic=True)
            .with_options(options())
        )

    def _filled(self, paths: NDArray[np.object_]) -> NDArray[np.object_]:
        """Let blank slots, which end a task's last batch, be read as the first of their batch, and be blanked then."""
        return np.where(self._index < 0, paths[:, :1], paths)

    def _blanked(self, number: int, batch: Batch) -> Batch:
        blank = self._index[number] < 0
        if not blank.any():
            return batch
        fill = {"image": 0, "size": 0, "truth": NO_TRUTH}
        arrays = {key: batch[key].numpy() for key in fill}
        for key, value in fill.items():
            arrays[key][blank] = value
        return {key: tf.constant(array) for key, array in arrays.items()}

    def _tile_by_tile(self, number: int, readers: ThreadPoolExecutor) -> Batch:
        """Read one batch with whatever of it can be read."""
        paths = zip(self._index[number], self._images[number], self._masks[number], strict=True)
        found = list(readers.map(lambda slot: self._tile(*slot), paths))
        loaded = [one for one in found if one is not None]
        # One pixel, so that a batch of nothing but blanks still is a picture.
        height, width = self._size or (max((truth.shape[side] for _, truth in loaded), default=1) for side in (0, 1))
        shape = (self._batch_size, height, width)
        images = np.zeros((*shape, self._fmt.bands), dtype_of(self._fmt).as_numpy_dtype)
        truths, size = np.full(shape, NO_TRUTH), np.zeros((self._batch_size, 2), np.int32)
        for slot, one in enumerate(found):
            if one is not None:
                rows, columns = size[slot] = one[1].shape
                images[slot, :rows, :columns], truths[slot, :rows, :columns] = one
        return {"image": tf.constant(images), "size": tf.constant(size), "truth": tf.constant(truths)}

    def _tile(self, index: int, image: bytes, mask: bytes) -> Loaded | None:
        if index < 0:
            return None
        try:
            pair = tf.constant([image, mask])
            loaded = self._load_alone(*(tf.unstack(read_contents(pair)) if self._packed else tf.unstack(pair)))
        except tf.errors.OpError:
            return None
        return loaded[0].numpy(), loaded[1].numpy()

    @cached_property
    def _load_alone(self) -> Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
        path = tf.TensorSpec([], tf.string)
        traced: Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
        traced = tf.function(self._load, input_signature=[path, path], autograph=False)
        return traced

    def _load(self, image_path: tf.Tensor, mask_path: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # What is packed was read before, so that contents stand in the paths' place.
        read: Read = tf.identity if self._packed else tf.io.read_file
        return read_pair(image_path, mask_path, self._fmt, self._table, self._size, read)


def _shared_out(readers: int, batch_size: int) -> tuple[int, int | None]:
    """Batches read at once, and tiles of each (None: one after the other)."""
    inner = min(batch_size, math.ceil(readers / 2))
    outer = min(math.ceil(readers / inner), _MOST_BATCHES_AT_ONCE)
    return outer, inner if inner > 1 else None


def _padded(tiles: tf.data.Dataset, batch_size: int) -> tf.data.Dataset:
    padding = {"index": np.int64(-1), "size": np.int32(0), "truth": NO_TRUTH}
    image = tf.zeros([], tiles.element_spec["image"].dtype)
    return tiles.padded_batch(batch_size, padding_values=padding | {"image": image}, drop_remainder=True)

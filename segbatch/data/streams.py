"""Lists of tiles as tf.data streams of samples, for training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from segbatch.data.augment import apply
from segbatch.data.contents import any_packed, read_contents
from segbatch.data.decode import ImageFormat
from segbatch.data.order import epoch_key, epoch_order
from segbatch.data.pairs import Pair
from segbatch.data.rasters import need_rasterio
from segbatch.data.reading import Read, Size, options, read_pair, within_region
from segbatch.data.resize import resize_image, resize_mask
from segbatch.spec.augmentation import AugmentStep

__all__ = ["Pair", "epoch_order", "sample_stream"]

Loader = Callable[[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
"""From the paths of image, mask and labelled region, and a seed (int64 [2]), to image and truth."""


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
        .with_options(options())
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
        image, truth = read_pair(image_path, mask_path, fmt, table, tile_size, read)
        if regions:
            truth = within_region(truth, region_path, read)
        image, truth = resize_image(image, size, resize), resize_mask(truth, size)
        image, truth = apply(augment, image, truth, seed, float(2**fmt.depth - 1))
        return tf.ensure_shape(image, [*size, fmt.bands]), tf.ensure_shape(truth, size)

    path = tf.TensorSpec([], tf.string)
    signature = [path, path, path, tf.TensorSpec([2], tf.int64)]
    traced: Loader = tf.function(load, input_signature=signature, autograph=False)
    return traced


def _region_paths(pairs: Sequence[Pair]) -> tf.Tensor | None:
    regions = [pair[2] for pair in pairs if len(pair) == 3]
    if regions and len(regions) != len(pairs):
        raise ValueError(f"expected all {len(pairs)} samples with a labelled region or none, received {len(regions)}")
    return tf.constant(regions, tf.string) if regions else None

"""One part of the data as batches, in an order that a position in it can be gone on from."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from segbatch.data.formats import ImageFormat
from segbatch.data.pairs import Pair
from segbatch.data.reasons import explain
from segbatch.data.streams import epoch_order, sample_stream
from segbatch.spec.augmentation import Augment
from segbatch.spec.job import TrainJob
from segbatch.training.shares import Share, regroup

__all__ = ["Batch", "Feed", "Pair", "format_of"]


@dataclass(frozen=True)
class Batch:
    """One batch, and what the pass has come to with it."""

    image: tf.Tensor
    """float32 [b, h, w, bands], not normalised."""
    truth: tf.Tensor
    """uint8 [b, h, w], class indices; 255 is ignored."""
    position: int
    """Samples of the order that are done with after this batch."""
    slots: int
    """Samples of the batch over all processes."""


@dataclass(frozen=True)
class Feed:
    """A part of a job's data.

    Batches are made of the samples that can be read, in order; so the batches that follow a position are the same
    whether the samples before it were read just now or by an earlier attempt.
    """

    part: str
    """train or val."""
    pairs: Sequence[Pair]
    """Paths of image and mask, and of the labelled region where there is one."""
    names: Sequence[str]
    """Names of the tiles."""
    job: TrainJob
    readers: int
    """Tiles read at once."""
    share: Share | None = None
    """What of each batch this process reads; None for all."""
    together: Callable[[NDArray[Any]], NDArray[Any]] = np.asarray
    """Adds up what each process found."""

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Order of an epoch, counted from 0: shuffled for learning, as it comes for validation."""
        if self.part == "train":
            return epoch_order(len(self.pairs), self.job.seed, epoch)
        return np.arange(len(self.pairs), dtype=np.int64)

    def batches(
        self, epoch: int, start: int, missing: Callable[[str, list[int]], None], augment: Augment = ()
    ) -> Iterator[Batch]:
        """Yield the batches of an epoch from a position on.

        Args:
            epoch: counted from 0.
            start: samples of the order to leave out, as done.
            augment: how samples are varied.
            missing: told the part and the indices of samples that could not be read, before the batch after them.
        """
        order = self.order(epoch)
        if self.share is not None:
            yield from self._shared(self.share, order, epoch, start, missing, augment)
            return
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        position = start
        for batch in self._stream(order[start:], augment, epoch):
            places = place[batch["index"].numpy()]
            if not (places[0] >= position and (np.diff(places) > 0).all()):
                raise RuntimeError(f"samples came out of order: {places} after {position}")
            after = int(places[-1]) + 1
            if after - position > len(places):
                missing(self.part, order[np.setdiff1d(np.arange(position, after), places)].tolist())
            position = after
            yield Batch(batch["image"], batch["truth"], position, len(places))
        if position < len(order):
            missing(self.part, order[position:].tolist())

    def _shared(
        self,
        share: Share,
        order: NDArray[np.int64],
        epoch: int,
        start: int,
        missing: Callable[[str, list[int]], None],
        augment: Augment,
    ) -> Iterator[Batch]:
        """The same for one of several processes; what could not be read is told at the end, for all of them."""
        planned = share.batches(start, len(order), self.job.train.batch_size)
        mine = np.concatenate([order[first:last] for _, first, last in planned] or [order[:0]])
        number = np.full(len(order), -1, np.int64)
        number[mine] = np.arange(len(mine))
        ends = np.cumsum([last - first for _, first, last in planned]).tolist()
        rows = ((number[it["index"].numpy()], it["image"], it["truth"]) for it in self._stream(mine, augment, epoch))
        gone = np.zeros(len(order), np.int64)
        gone[mine] = 1
        position = start
        for (slots, _, _), group in zip(planned, regroup(rows, ends), strict=True):
            position += slots
            if group is None:
                yield Batch(*self._nothing(), position, slots)
            else:
                gone[mine[group[0]]] = 0
                yield Batch(group[1], group[2], position, slots)
        missing(self.part, np.flatnonzero(self.together(gone)).tolist())

    def _nothing(self) -> tuple[tf.Tensor, tf.Tensor]:
        height, width = self.job.model.input
        return tf.zeros((0, height, width, self.job.data.bands)), tf.zeros((0, height, width), tf.uint8)

    def pick(self, count: int) -> tuple[NDArray[np.float32], NDArray[np.uint8], list[str]]:
        """Read a few samples, spread evenly over the part, as they are: images, truths, names."""
        images, truths, indices = self.read(self.spread(count))
        return images, truths, [self.names[index] for index in indices]

    def spread(self, count: int) -> NDArray[np.int64]:
        """Indices of a few samples, spread evenly over the part."""
        return np.unique(np.linspace(0, len(self.pairs) - 1, min(count, len(self.pairs))).astype(np.int64))

    def read(
        self, indices: NDArray[np.int64], epoch: int = 0, augment: Augment = ()
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8], list[int]]:
        """Read samples as they are, or varied as learning sees them in an epoch (counted from 0).

        Returns:
            Images [n, h, w, bands], truths [n, h, w], and the indices of those that could be read, in order.
        """
        height, width = self.job.model.input
        images = [np.empty((0, height, width, self.job.data.bands), np.float32)]
        truths = [np.empty((0, height, width), np.uint8)]
        found: list[int] = []
        for batch in self._stream(indices, augment, epoch):
            images.append(batch["image"].numpy())
            truths.append(batch["truth"].numpy())
            found += batch["index"].numpy().tolist()
        return np.concatenate(images), np.concatenate(truths), found

    def explain(self, index: int) -> tuple[str, str]:
        """Name a tile that could not be read, and say why."""
        image, mask, *region = (Path(os.fsdecode(path)) for path in self.pairs[index])
        table = self.job.labels.raw_to_index()
        region_mask = region[0] if region else None
        return self.names[index], explain(image, mask, format_of(self.job), table, self.job.data.size, region_mask)

    def _stream(self, order: NDArray[np.int64], augment: Augment, epoch: int) -> tf.data.Dataset:
        if not len(order):
            return ()
        return sample_stream(
            self.pairs,
            format_of(self.job),
            self.job.labels.raw_to_index(),
            order=order,
            size=self.job.model.input,
            resize=self.job.model.resize,
            augment=augment,
            batch_size=self.job.train.batch_size,
            seed=self.job.seed,
            epoch=epoch,
            readers=self.readers,
            tile_size=self.job.data.size,
        )


def format_of(job: TrainJob) -> ImageFormat:
    """How the job's images are read."""
    return ImageFormat(job.data.bands, job.data.depth, job.data.decode)

"""What the training part is made of: pixels of each class, mean and deviation of each band, the mean image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segbatch.data.formats import ImageFormat
from segbatch.data.pairs import Pair
from segbatch.data.streams import sample_stream
from segbatch.spec.job import TrainJob
from segbatch.spec.labels import IGNORED

BATCH = 16


@dataclass(frozen=True)
class Statistics:
    """Measured on samples as the network sees them: resized to its input, not augmented."""

    tiles: int
    """Tiles that could be read."""
    pixels: NDArray[np.int64]
    """[C] pixels of each class; ignored ones count nowhere."""
    areas: NDArray[np.int64]
    """[C] pixels, of all classes, of the tiles in which each class occurs."""
    mean_image: NDArray[np.float64]
    """[h, w, bands] mean over the tiles, 0 to 1."""
    square: NDArray[np.float64]
    """[bands] mean of the squares, over tiles and pixels."""

    @property
    def mean(self) -> NDArray[np.float64]:
        """[bands] mean over tiles and pixels, 0 to 1."""
        return np.asarray(self.mean_image.mean(axis=(0, 1)))

    @property
    def deviation(self) -> NDArray[np.float64]:
        """[bands] standard deviation from `mean`, over tiles and pixels: the root of E[x^2] - E[x]^2."""
        return np.sqrt(np.maximum(self.square - self.mean**2, 0))

    @property
    def deviation_from_image(self) -> float:
        """Standard deviation from `mean_image`, over tiles, pixels and bands: after it, the training part has 1."""
        return float(np.sqrt(max(self.square.mean() - (self.mean_image**2).mean(), 0)))


class Tally:
    """Adds up samples, one after the other; its memory does not grow.

    Sums are in double precision and in the samples' order, so that batches and threads make no difference.

    Args:
        classes: number of classes C.
        depth: bits of a band.
    """

    def __init__(self, classes: int, depth: int) -> None:
        self._classes, self._largest = classes, float(2**depth - 1)
        self._pixels, self._areas = np.zeros((2, classes), np.int64)
        self._sum: NDArray[np.float64] | float = 0.0
        self._squares: NDArray[np.float64] | float = 0.0
        self._tiles = 0

    def add(self, image: NDArray[np.number], truth: NDArray[np.uint8]) -> None:
        """Add one sample.

        Args:
            image: [h, w, bands], 0 to 2**depth - 1, all of one size.
            truth: [h, w] class indices, 255 where ignored.
        """
        counts = np.bincount(truth[truth != IGNORED], minlength=self._classes)[: self._classes]
        self._pixels += counts
        self._areas[counts > 0] += counts.sum()
        unit = image.astype(np.float64) / self._largest
        self._sum = self._sum + unit
        self._squares = self._squares + np.einsum("hwb,hwb->b", unit, unit) / (unit.shape[0] * unit.shape[1])
        self._tiles += 1

    def result(self) -> Statistics:
        """Divide.

        Raises:
            ValueError: there was no sample.
        """
        if not self._tiles:
            raise ValueError("no sample to take statistics of")
        mean_image, square = (np.asarray(total) / self._tiles for total in (self._sum, self._squares))
        return Statistics(self._tiles, self._pixels.copy(), self._areas.copy(), mean_image, square)


def measure(job: TrainJob, pairs: Sequence[Pair], *, readers: int, tick: Callable[[int], None]) -> Statistics | None:
    """Take the statistics of the training part in one pass.

    Args:
        job: how images and masks are read and resized.
        pairs: the files of the part; those that cannot be read are left out.
        readers: tiles read at once.
        tick: told, after every few tiles, how many are done; may raise to stop.

    Returns:
        None where not one tile could be read.
    """
    tally = Tally(len(job.labels.scored), job.data.depth)
    batches = sample_stream(
        pairs,
        ImageFormat(job.data.bands, job.data.depth, job.data.decode),
        job.labels.raw_to_index(),
        order=np.arange(len(pairs), dtype=np.int64),
        size=job.model.input,
        resize=job.model.resize,
        augment=(),
        batch_size=BATCH,
        seed=job.seed,
        epoch=0,
        readers=readers,
        tile_size=job.data.size,
    )
    read = 0
    for batch in batches.as_numpy_iterator():
        for image, truth in zip(batch["image"], batch["truth"], strict=True):
            tally.add(image, truth)
        read += len(batch["index"])
        tick(int(batch["index"][-1]) + 1)
    return tally.result() if read else None

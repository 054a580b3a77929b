"""Which samples of every batch a process reads, and how what it reads becomes batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray


@dataclass(frozen=True)
class Share:
    """What falls to one of several processes.

    Batch k of an epoch has the positions from k * batch_size on, whether they can be read or not: the processes do not
    know of each other's unreadable samples, and must agree. Replica i of R takes the slots from i * m on, with
    m = ceil(slots / R); a process reads what its replicas take. So no sample is read twice, and none is left out.
    """

    rank: int
    processes: int
    replicas: int
    """Over all processes."""

    def of_batch(self, slots: int) -> tuple[int, int]:
        """First slot of this process in a batch of so many, and the one after its last."""
        most = -(-slots // self.replicas) * (self.replicas // self.processes)
        first = min(self.rank * most, slots)
        return first, min(first + most, slots)

    def batches(self, start: int, end: int, batch_size: int) -> list[tuple[int, int, int]]:
        """The batches from position `start` to `end`: slots, and first and last position + 1 of this process."""
        found = []
        for at in range(start, end, batch_size):
            slots = min(batch_size, end - at)
            first, last = self.of_batch(slots)
            found.append((slots, at + first, at + last))
        return found


Rows = tuple[NDArray[np.int64], tf.Tensor, tf.Tensor]
"""Number of each row, growing; and two tensors of as many rows."""


def regroup(stream: Iterator[Rows], ends: list[int]) -> Iterator[Rows | None]:
    """Cut a stream of rows anew: group k has the rows whose numbers are below `ends[k]` and not in a group before.

    Yields:
        The rows of each group; None for a group without any.
    """
    waiting: deque[Rows] = deque()
    for end in ends:
        while not waiting or waiting[-1][0][-1] < end - 1:
            rows = next(stream, None)
            if rows is None:
                break
            waiting.append(rows)
        taken = []
        while waiting and waiting[0][0][0] < end:
            numbers, image, truth = waiting.popleft()
            inside = int((numbers < end).sum())
            taken.append((numbers[:inside], image[:inside], truth[:inside]))
            if inside < len(numbers):
                waiting.appendleft((numbers[inside:], image[inside:], truth[inside:]))
        yield _joined(taken)


def _joined(parts: list[Rows]) -> Rows | None:
    if len(parts) < 2:
        return parts[0] if parts else None
    numbers, images, truths = zip(*parts, strict=True)
    return np.concatenate(numbers), tf.concat(images, 0), tf.concat(truths, 0)

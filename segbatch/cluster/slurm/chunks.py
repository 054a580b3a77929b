"""Cutting a run's tasks into arrays that a site accepts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Chunk:
    """Tasks of one array job."""

    offset: int
    """Task number = array index + offset."""
    indexes: tuple[int, ...]
    """Ascending."""
    at_once: int | None
    """This array's part of the tasks that may run together."""
    after: int | None
    """Number of the chunk that must end first, where fewer tasks than chunks may run together."""

    @property
    def tasks(self) -> list[int]:
        """Task numbers."""
        return [self.offset + index for index in self.indexes]


def cut(tasks: Iterable[int], most: int, at_once: int | None = None) -> list[Chunk]:
    """Cut tasks into chunks whose indexes all lie below `most`.

    Sites cap the index and not the number of an array's tasks, so each chunk starts at 0 and carries an offset.

    Args:
        tasks: task numbers.
        most: MaxArraySize.
        at_once: tasks that may run together over all chunks; the sum of the chunks' parts never exceeds it.
    """
    by_offset: dict[int, list[int]] = defaultdict(list)
    for task in sorted(tasks):
        by_offset[task // most * most].append(task)
    parts = _parts([len(numbers) for numbers in by_offset.values()], at_once)
    return [
        Chunk(
            offset,
            tuple(task - offset for task in numbers),
            part,
            after=position - at_once if at_once and position >= at_once else None,
        )
        for position, ((offset, numbers), part) in enumerate(zip(by_offset.items(), parts, strict=True))
    ]


def _parts(sizes: list[int], at_once: int | None) -> list[int | None]:
    """Share `at_once` among chunks by their size, at least one each; what is left goes to the largest remainders."""
    if at_once is None:
        return [None] * len(sizes)
    if at_once <= len(sizes):
        return [1] * len(sizes)
    total, spare = sum(sizes), at_once - len(sizes)
    shares = [spare * size / total for size in sizes]
    parts = [1 + int(share) for share in shares]
    by_remainder = sorted(range(len(sizes)), key=lambda number: int(shares[number]) - shares[number])
    for number in by_remainder[: at_once - sum(parts)]:
        parts[number] += 1
    return list(parts)

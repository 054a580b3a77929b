"""What waits for the writers: first in, first out, bounded; further writers help only while it piles up."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Backlog(Generic[T]):
    """A queue for threads of different ranks.

    The thread of rank r takes something only where more than r things wait. A single thread is the cheapest where it
    keeps up, since the interpreter runs one at a time; where each write waits for a slow disk, all of them have work.

    Args:
        capacity: things that may wait before `put` does; ranks from this on get nothing.
        ranks: number of threads, one of each rank.
    """

    def __init__(self, capacity: int, ranks: int) -> None:
        self._capacity = capacity
        self._waiting: deque[T] = deque()
        self._closed = False
        lock = threading.Lock()
        self._room = threading.Condition(lock)
        self._work = [threading.Condition(lock) for _ in range(ranks)]

    def put(self, thing: T) -> None:
        """Add a thing; waits while there is no room."""
        with self._room:
            while len(self._waiting) >= self._capacity:
                self._room.wait()
            self._waiting.append(thing)
            for work in self._work[: len(self._waiting)]:
                work.notify()

    def get(self, rank: int) -> T | None:
        """Take the oldest thing; waits for one. None when nothing is left and nothing more comes."""
        with self._work[rank]:
            while not self._closed and len(self._waiting) <= rank:
                self._work[rank].wait()
            if not self._waiting:
                return None
            self._room.notify()
            return self._waiting.popleft()

    def close(self) -> None:
        """Nothing more comes: every thread may take what is left."""
        with self._room:
            self._closed = True
            for work in self._work:
                work.notify()

"""Computing several batches at once, so that no processor idles between a network's layers."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

ON_CPU = 2
"""A single batch leaves a tenth to a sixth of two cores idle, at the end of every layer."""
QUICK_S = 0.02
"""Seconds below which there is less to gain on a CPU than another thread costs."""


class Lanes:
    """Threads that compute batches, each one from its beginning to its end.

    What a batch comes to must not depend on what is computed beside it.

    Args:
        number: batches computed at once, each with memory of its own; one more may wait. None at all: they are computed
            by whoever starts them.
        quick: so are batches of a network that took fewer seconds than this.
    """

    def __init__(self, number: int, quick: float = QUICK_S) -> None:
        self.number = number
        self._quick = quick
        self._threads = ThreadPoolExecutor(max(number, 1), thread_name_prefix="lane")
        self._room = threading.Semaphore(number + 1)
        self._quickest = math.inf

    @classmethod
    def of_tensorflow(cls) -> Lanes:
        """As many as suit what TensorFlow computes on: a GPU has a queue of its own, which starting a batch fills."""
        import tensorflow as tf

        return cls(0 if tf.config.list_physical_devices("GPU") else ON_CPU)

    def start(self, compute: Callable[[], T]) -> Callable[[], T]:
        """Start computing a batch; waits while too many are being computed.

        Returns:
            What waits for it, and raises what went wrong; from any thread.
        """
        if not self.number or self._quickest < self._quick:
            result = compute()
            return lambda: result
        self._room.acquire()
        future = self._threads.submit(self._timed, compute)
        future.add_done_callback(lambda _: self._room.release())
        return future.result

    def _timed(self, compute: Callable[[], T]) -> T:
        begun = time.perf_counter()
        result = compute()
        self._quickest = min(self._quickest, time.perf_counter() - begun)
        return result

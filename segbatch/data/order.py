"""Order and seeds of an epoch as pure functions of (seed, epoch): the same on every machine and NumPy version."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray


def epoch_key(seed: int, epoch: int) -> int:
    """Mix seed and epoch into a signed 64-bit number: the first bytes of a SHA-256."""
    payload = f"{seed}\0{epoch}".encode()
    return int.from_bytes(hashlib.sha256(payload).digest()[:8], "big", signed=True)


def epoch_order(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Shuffle the positions of `count` samples.

    NumPy may change what its own generators give, so positions are sorted by a hash of theirs: splitmix64 (Steele,
    Lea, Flood: Fast splittable pseudorandom number generators, 2014), started at the epoch's key.

    Returns:
        int64 [count], a permutation of 0 to count - 1.
    """
    start = np.array(epoch_key(seed, epoch), np.int64).view(np.uint64)
    bits = start + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.argsort(bits ^ (bits >> np.uint64(31)), kind="stable").astype(np.int64)

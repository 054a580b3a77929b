"""Timing two commands in turn, so that a machine whose speed drifts treats both alike."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Sequence


def wall(command: Sequence[str]) -> float:
    """Run a command and return its wall-clock seconds."""
    begun = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - begun


def ratio(first: Sequence[str], second: Sequence[str], rounds: int = 11) -> tuple[float, float, float]:
    """Time two commands in turn, after a warm-up.

    Returns:
        Median seconds of each, and the median over the rounds of first / second.
    """
    wall(first), wall(second)
    pairs = [(wall(first), wall(second)) for _ in range(rounds)]
    return (
        statistics.median(one for one, _ in pairs),
        statistics.median(two for _, two in pairs),
        statistics.median(one / two for one, two in pairs),
    )

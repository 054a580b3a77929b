"""The time from a task's start to its first mask, by part."""

from __future__ import annotations

import os
import time
from pathlib import Path

_SELF = Path("/proc/self/stat")
_START_FIELD = 22


class ColdStart:
    """Notes when each part of a start ended; parts follow one another.

    The first part begins with the process, so that imports count.
    """

    def __init__(self) -> None:
        self._last = time.monotonic() - process_seconds()
        self.parts: dict[str, float] = {}

    def mark(self, part: str) -> None:
        """Say that a part has ended just now; a part that was marked before keeps its time."""
        if part not in self.parts:
            now = time.monotonic()
            self.parts[part] = now - self._last
            self._last = now

    @property
    def seconds(self) -> float:
        """All parts together."""
        return sum(self.parts.values())

    def __str__(self) -> str:
        listed = ", ".join(f"{part} {seconds:.1f}" for part, seconds in self.parts.items())
        return f"{self.seconds:.1f} s from the start to the first mask: {listed}"


def process_seconds() -> float:
    """Seconds since this process began; 0 where the system does not tell."""
    try:
        fields = _SELF.read_text().rpartition(")")[2].split()
        started = int(fields[_START_FIELD - 3]) / os.sysconf("SC_CLK_TCK")
        return max(time.clock_gettime(time.CLOCK_BOOTTIME) - started, 0.0)
    except (OSError, AttributeError, IndexError, ValueError):
        return 0.0

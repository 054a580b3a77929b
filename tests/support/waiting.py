"""Waiting for what another process does."""

from __future__ import annotations

import time
from collections.abc import Callable

WAIT_S = 180.0
"""A busy machine is no failure."""


def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds; fails when it never does."""
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)

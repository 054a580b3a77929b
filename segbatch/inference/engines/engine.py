"""What an engine is: something that runs a bundle's network in TensorFlow's place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

Scores = Callable[[], np.ndarray]
"""Waits for a batch's scores, float32 [B, h, w, C]."""


class Engine(Protocol):
    """Runs a network on batches of one shape."""

    name: str
    """As `predict.engine` calls it."""
    version: str
    """Of its package."""

    def start(self, pixels: np.ndarray) -> Scores:
        """Start computing a batch, and return at once where the engine can.

        What comes out depends on the batch alone. The call waits while too many batches are being computed.

        Args:
            pixels: float32 [B, h, w, bands], normalised, of the batch size and input size the engine was made for; not
                to be written to before the scores are there.

        Returns:
            What waits for the scores; callable once, from any thread.
        """
        ...

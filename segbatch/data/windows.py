"""Windows over a tile or scene of any size, and the blending of what they say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Position = tuple[int, int]


def overlap_pixels(window: int, overlap: int | float) -> int:
    """Overlap of neighbouring windows in pixels, below `window`; a float is a share of the window."""
    return min(overlap if isinstance(overlap, int) else round(overlap * window), window - 1)


def starts(length: int, window: int, overlap: int) -> list[int]:
    """Where windows begin so that they cover `length` pixels; the last ends with the picture."""
    if length <= window:
        return [0]
    step = window - overlap
    return [*range(0, length - window, step), length - window]


class Windows:
    """Windows of one size over a picture of any size, from one pixel up.

    Args:
        height: of the picture, in pixels.
        width: of the picture, in pixels.
        window: side of a window, in pixels.
        overlap: of neighbours, in pixels or as a share of the window.
    """

    def __init__(self, height: int, width: int, window: int, overlap: int | float) -> None:
        self.height, self.width, self.window = height, width, window
        self.overlap = overlap_pixels(window, overlap)

    def __iter__(self) -> Iterator[Position]:
        """Yield the upper left corner of every window, row by row."""
        for top in starts(self.height, self.window, self.overlap):
            for left in starts(self.width, self.window, self.overlap):
                yield top, left

    def cut(self, image: NDArray[Any], position: Position) -> NDArray[Any]:
        """Return one window of an image [H, W, ...]; a smaller image is mirrored outwards to fill it."""
        top, left = position
        part = image[top : top + self.window, left : left + self.window]
        rows, columns = self.window - part.shape[0], self.window - part.shape[1]
        if not rows and not columns:
            return part
        return np.pad(part, [(0, rows), (0, columns), *[(0, 0)] * (image.ndim - 2)], mode="symmetric")


def weights(window: int, overlap: int) -> NDArray[np.float32]:
    """Weight of each pixel of a window: 1 in the middle, falling towards the borders, never zero.

    Returns:
        float32 [window, window], above 0.
    """
    ramp = np.minimum(np.arange(1, window + 1), np.arange(window, 0, -1)) / (overlap + 1)
    side = np.minimum(ramp, 1.0)
    return np.outer(side, side).astype(np.float32)


class Blend:
    """Weighted mean of what overlapping windows say of each pixel.

    Args:
        windows: the windows.
        channels: values a pixel.
    """

    def __init__(self, windows: Windows, channels: int) -> None:
        self._windows = windows
        self._weights = weights(windows.window, windows.overlap).astype(np.float64)[..., None]
        self._sum = np.zeros((windows.height, windows.width, channels), np.float64)
        self._total = np.zeros((windows.height, windows.width, 1), np.float64)

    def add(self, position: Position, votes: NDArray[np.floating[Any]]) -> None:
        """Add one window's values [window, window, channels]; what lies beyond the picture is left out."""
        top, left = position
        area = np.s_[top : top + self._windows.window, left : left + self._windows.window]
        rows, columns = self._sum[area].shape[:2]
        weight = self._weights[:rows, :columns]
        self._sum[area] += weight * votes[:rows, :columns]
        self._total[area] += weight

    def result(self) -> NDArray[np.float32]:
        """Return the blended values, float32 [H, W, channels]."""
        return (self._sum / self._total).astype(np.float32)

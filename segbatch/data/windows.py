"""Windows over a tile or scene of any size, and the blending of what they say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segbatch.errors import InputError

Position = tuple[int, int]
"""Row and column of a window's upper left pixel."""

_LEVELS = 256


def overlap_pixels(window: int, overlap: int | float) -> int:
    """Overlap of neighbours in pixels, from an `int` of pixels or a `float` share of the window, rounded down.

    Raises:
        InputError: it is not below the window's side, so that windows would never move on.
    """
    pixels = overlap if isinstance(overlap, int) else int(overlap * window)
    if not 0 <= pixels < window:
        raise InputError(
            f"predict.overlap: expected fewer pixels than the window's {window}, received {overlap}. "
            "Give a share, such as 0.25, or a smaller number."
        )
    return pixels


def starts(length: int, window: int, overlap: int) -> list[int]:
    """First pixels of the windows that cover `length` pixels; the last window ends with the picture."""
    if length <= window:
        return [0]
    return [*range(0, length - window, window - overlap), length - window]


class Windows:
    """Windows of one size that cover a picture of any size, from one pixel up.

    A picture smaller than a window gets one window that reaches beyond it to the right and below.

    Args:
        height: of the picture, in pixels.
        width: of the picture, in pixels.
        window: side of a window, in pixels.
        overlap: of neighbours, in pixels (int) or as a share of the window (float).

    Raises:
        InputError: the overlap is not below the window's side.
    """

    def __init__(self, height: int, width: int, window: int, overlap: int | float) -> None:
        self.height, self.width, self.window = height, width, window
        self.overlap = overlap_pixels(window, overlap)
        self.rows = starts(height, window, self.overlap)
        self.columns = starts(width, window, self.overlap)

    def __len__(self) -> int:
        """Number of windows."""
        return len(self.rows) * len(self.columns)

    def __iter__(self) -> Iterator[Position]:
        """Yield the position of every window, row by row."""
        for top in self.rows:
            for left in self.columns:
                yield top, left

    def cut(self, image: NDArray[Any], position: Position) -> NDArray[Any]:
        """Return one window of an image [height, width, ...]; what lies beyond the image mirrors it."""
        top, left = position
        part = image[top : top + self.window, left : left + self.window]
        below, beside = self.window - part.shape[0], self.window - part.shape[1]
        if not below and not beside:
            return part
        return np.pad(part, [(0, below), (0, beside), *[(0, 0)] * (image.ndim - 2)], mode="reflect")


def side_weights(window: int, overlap: int) -> NDArray[np.int64]:
    """Weights along one side of a window: rising over the overlap, level in the middle, falling; whole, at least 1.

    Whole numbers of at most 256 make a blend of equal values exact, see `Blend`.
    """
    ramp = np.minimum(np.arange(1, window + 1), np.arange(window, 0, -1)).clip(max=overlap + 1)
    top = int(ramp.max())
    return ramp if top <= _LEVELS else -(-ramp * _LEVELS // top)


def weights(window: int, overlap: int) -> NDArray[np.float32]:
    """Weights of a window's pixels, the product of those of its sides: float32 [window, window], at least 1."""
    side = side_weights(window, overlap)
    return np.outer(side, side).astype(np.float32)


class Blend:
    """Weighted mean of what overlapping windows say of each pixel.

    Equal float32 values come out as they went in, to the bit, so a constant map stays constant under any threshold:
    weights are whole numbers below 2**17, hence products and sums are exact in float64 (up to 4,096 windows over one
    pixel), and so is their quotient.

    Memory: 4 bytes a value of the map, and 8 a value of the rows that one window covers.

    Args:
        windows: the windows.
        channels: number C of values a pixel.
    """

    def __init__(self, windows: Windows, channels: int) -> None:
        self._windows = windows
        side = side_weights(windows.window, windows.overlap).astype(np.float64)
        self._weights = np.outer(side, side)[..., np.newaxis]
        self._down = _sums(side, windows.rows, windows.height)
        self._across = _sums(side, windows.columns, windows.width)
        self._map = np.empty((windows.height, windows.width, channels), np.float32)
        # Sums of the rows from _first on; no later window reaches the rows before.
        self._open = np.zeros((min(windows.window, windows.height), windows.width, channels), np.float64)
        # Fresh memory for every product would cost more than the product.
        self._scratch = np.empty((windows.window, windows.window, channels), np.float64)
        self._first = 0
        self._added = 0

    def add(self, position: Position, scores: NDArray[np.floating[Any]]) -> None:
        """Add one window's scores [window, window, C]; what lies beyond the picture is left out.

        Raises:
            ValueError: a window of an earlier row was added before; the order is that of `Windows`.
        """
        top, left = position
        self._close(top)
        side = self._windows.window
        area = self._open[:, left : left + side]
        rows, columns = area.shape[:2]
        weighted = self._scratch[:rows, :columns]
        np.multiply(self._weights[:rows, :columns], scores[:rows, :columns], out=weighted)
        area += weighted
        self._added += 1

    def result(self) -> NDArray[np.float32]:
        """Return the blended scores, float32 [height, width, C].

        Raises:
            ValueError: windows are missing.
        """
        if self._added != len(self._windows):
            raise ValueError(f"expected {len(self._windows)} windows, received {self._added}")
        self._close(self._windows.height)
        return self._map

    def _close(self, first: int) -> None:
        """Finish the rows above `first`."""
        done = first - self._first
        if done < 0:
            raise ValueError(f"expected windows row by row, received row {first} after {self._first}")
        if not done:
            return
        total = np.outer(self._down[self._first : first], self._across)
        np.divide(self._open[:done], total[..., np.newaxis], out=self._map[self._first : first], casting="same_kind")
        self._open[:-done] = self._open[done:]
        self._open[-done:] = 0
        self._first = first


def _sums(side: NDArray[np.float64], begins: list[int], length: int) -> NDArray[np.float64]:
    """Sum of the weights over each pixel of a side."""
    total = np.zeros(length)
    for begin in begins:
        part = total[begin : begin + len(side)]
        part += side[: len(part)]
    return total

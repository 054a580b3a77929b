"""What the step says of a batch: fetched, and brought to each tile's size, by the thread that asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, overload

import numpy as np
import tensorflow as tf

from segbatch.data.resize import resize_mask

Fetch = Callable[[], tuple[np.ndarray, np.ndarray | None]]
"""Waits for a batch: class indices, uint8 [B, h, w], and their probability, float32 [B, h, w], or None."""
Enlarge = Callable[[np.ndarray, tuple[int, int]], np.ndarray]
"""From a probability, float32 [h, w], to one of another size as it is written."""

_EQUAL_BYTES: Mapping[int, np.unsignedinteger[Any]] = {
    2: np.uint16(0x0101),
    4: np.uint32(0x01010101),
    8: np.uint64(0x0101010101010101),
}
"""By how many bytes: what a byte is multiplied by to be all of them."""


@dataclass(frozen=True)
class TileResult:
    """What the step says of one tile."""

    mask: np.ndarray
    """uint8 [H, W]: class indices."""
    probability: np.ndarray | None
    """uint8 or uint16 [H, W]: probability of the second class (binary head) or of the chosen one, times 255 (65535)."""
    truth: np.ndarray | None
    """uint8 [H, W]: class indices, 255 where ignored; None without ground truth."""


class BatchResults(Sequence[TileResult | None]):
    """Results of one batch at the network's size, by slot; None for empty slots.

    Nothing is fetched from the device before the first result is asked for, so that the thread that drives the step
    goes on to the next batch. A batch is for one thread.

    Args:
        fetch: waits for the step.
        size: int32 [B, 2]: height and width of each tile, 0 for empty slots.
        truth: uint8 [B, H, W], each tile's in its upper left corner; None without ground truth.
        enlarge: brings a probability to a tile's size.
    """

    def __init__(self, fetch: Fetch, size: np.ndarray, truth: np.ndarray | None, enlarge: Enlarge) -> None:
        self._fetch, self._size, self._truth, self._enlarge = fetch, size.tolist(), truth, enlarge

    @cached_property
    def _fetched(self) -> tuple[np.ndarray, np.ndarray | None]:
        return self._fetch()

    def wait(self) -> None:
        """Wait until the step has ended."""
        _ = self._fetched

    def __len__(self) -> int:
        return len(self._size)

    @overload
    def __getitem__(self, slot: int) -> TileResult | None: ...
    @overload
    def __getitem__(self, slot: slice) -> list[TileResult | None]: ...
    def __getitem__(self, slot: int | slice) -> TileResult | list[TileResult | None] | None:
        if isinstance(slot, slice):
            return [self._tile(number) for number in range(*slot.indices(len(self)))]
        return self._tile(slot)

    def _tile(self, slot: int) -> TileResult | None:
        height, width = self._size[slot]
        if not height:
            return None
        masks, probabilities = self._fetched
        return TileResult(
            enlarged(masks[slot], height, width),
            None if probabilities is None else self._enlarge(probabilities[slot], (height, width)),
            None if self._truth is None else self._truth[slot, :height, :width],
        )


def enlarged(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bring class indices, uint8 [h, w], to another size as `resize_mask` does, at a tenth of its cost."""
    rows, columns = mask.shape
    if columns != width:
        mask = _widened(mask, width)
    return mask if rows == height else mask.take(_nearest(rows, height), axis=0)


def _widened(mask: np.ndarray, width: int) -> np.ndarray:
    """Bring rows to another length; twice, four or eight times as many pixels as numbers of so many equal bytes."""
    columns = mask.shape[1]
    wider = _EQUAL_BYTES.get(width // columns) if width % columns == 0 else None
    if wider is None:
        return mask.take(_nearest(columns, width), axis=1)
    widened: np.ndarray = (mask.astype(wider.dtype) * wider).view(np.uint8)
    return widened


@lru_cache(maxsize=256)
def _nearest(old: int, new: int) -> np.ndarray:
    """Position in the old side that `resize_mask` takes for each position of the new one: intp [new]."""
    chosen: np.ndarray = resize_mask(tf.range(old)[:, tf.newaxis], (new, 1)).numpy()[:, 0]
    return chosen.astype(np.intp)

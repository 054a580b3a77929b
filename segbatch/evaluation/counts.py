"""Pixels counted by true and predicted class, and their text for a journal."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segbatch.spec.labels import IGNORED

Counts = NDArray[np.int64]
IndexMap = NDArray[np.uint8]

_PACKED = {axes: re.compile(rf"(?! )(?:(?:^| )\d+(?::\d+){{{axes}}})*", re.ASCII) for axes in (1, 2)}
"""Packed text by number of axes."""
_FEW_BINS = 64
"""Bins up to which counting two values at once pays: a table of all pairs fits the processor's caches."""


def confusion(truth: IndexMap, predicted: IndexMap, classes: int) -> Counts:
    """Count the pixels of one tile by true and predicted class.

    Counts of several tiles add up: the sum over tiles is the confusion matrix of the set, however it was cut.

    Args:
        truth: class indices, uint8 [H, W]; 255 is ignored.
        predicted: class indices, uint8 [H, W]; 255, and all that is not below `classes`, is "no class".
        classes: number C of classes, 1 to 254.

    Returns:
        int64 [C, C + 1]: entry [t, p] is the number of pixels of class t predicted as p; the last column counts
        "no class". Ignored pixels are in no entry.

    Raises:
        ValueError: the shapes differ, or the truth holds an index that is neither a class nor 255.
    """
    return tally(truth, predicted, classes)[0]


def tally(truth: IndexMap, predicted: IndexMap, classes: int) -> tuple[Counts, Counts]:
    """Count the pixels of one tile by true and predicted class, and all by predicted class, in one pass.

    Args:
        truth: as in `confusion`.
        predicted: as in `confusion`.
        classes: number C of classes, 1 to 254.

    Returns:
        What `confusion` and `class_pixels` return.

    Raises:
        ValueError: as `confusion`.
    """
    if truth.shape != predicted.shape:
        raise ValueError(f"expected maps of one shape, received truth {truth.shape} and prediction {predicted.shape}")
    # A network's classes are all below C; only a foreign mask may hold more.
    guess = np.minimum(predicted, classes) if predicted.max(initial=0) > classes else predicted
    known, rows = truth, classes
    if truth.max(initial=0) >= classes:
        _refuse_foreign(truth, classes)
        # The low bits alone leave classes as they are and give ignored pixels a row of their own, the last one.
        rows = 1 << classes.bit_length()
        known = truth & np.uint8(rows - 1)
    cells = rows * (classes + 1)
    kind: Any = np.uint8 if cells <= 256 else np.uint16
    cell: NDArray[Any] = known.astype(kind, copy=False) * kind(classes + 1)
    cell += guess
    counted = _histogram(cell.ravel(), cells).reshape(rows, classes + 1)
    return counted[:classes], counted.sum(axis=0)[:classes]


def _refuse_foreign(truth: IndexMap, classes: int) -> None:
    foreign = (truth >= classes) & (truth != IGNORED)
    if foreign.any():
        found = np.unique(truth[foreign]).tolist()
        raise ValueError(f"expected truth below {classes} or {IGNORED}, received {found}")


def _histogram(values: NDArray[Any], bins: int) -> Counts:
    """Count each value of a flat array, all of them below `bins`; int64 [bins]."""
    if values.itemsize > 1 or bins > _FEW_BINS:
        return np.bincount(values, minlength=bins).astype(np.int64, copy=False)
    # Two neighbours at a time, as one number: half the work, and `bincount` is what counting costs.
    even = values.size // 2 * 2
    pairs = np.bincount(values[:even].view(np.uint16), minlength=bins * 256)
    table = pairs.reshape(bins, 256)[:, :bins]
    counted: Counts = (table.sum(axis=0) + table.sum(axis=1)).astype(np.int64, copy=False)
    if even < values.size:
        counted[values[-1]] += 1
    return counted


def class_pixels(predicted: IndexMap, classes: int) -> Counts:
    """Count the pixels of every predicted class.

    Args:
        predicted: class indices, uint8 of any shape; "no class" as in `confusion`.
        classes: number C of classes.

    Returns:
        int64 [C].
    """
    bins = max(int(predicted.max(initial=0)) + 1, classes)
    return _histogram(predicted.ravel(), bins)[:classes]


def pack(counts: Counts) -> str:
    """Return the entries that are not zero as text: `0:0:123 0:2:5` for two axes, `0:123 2:5` for one.

    Only digits, colons and spaces, in order of position; counts that are all zero give an empty text.
    """
    places = counts.nonzero()
    return " ".join(
        ":".join(map(str, entry))
        for entry in zip(*(axis.tolist() for axis in places), counts[places].tolist(), strict=True)
    )


def unpack(text: str, classes: int) -> Counts:
    """Return the int64 [C, C + 1] counts that `pack` turned into `text`.

    Raises:
        ValueError: the text is not one that `pack` writes for this number of classes.
    """
    return _unpack(text, (classes, classes + 1))


def unpack_pixels(text: str, classes: int) -> Counts:
    """Return the int64 [C] pixels by class that `pack` turned into `text`; raises as `unpack` does."""
    return _unpack(text, (classes,))


def _unpack(text: str, shape: tuple[int, ...]) -> Counts:
    if not _PACKED[len(shape)].fullmatch(text):
        raise ValueError(f"expected counts such as '0:0:123 0:1:5', received {text[:60]!r}")
    numbers = [int(digits) for digits in text.replace(":", " ").split()]
    if max(numbers, default=0) > np.iinfo(np.int64).max:
        raise ValueError(f"counts beyond 64 bits: {text[:60]!r}")
    entries = np.array(numbers, np.int64).reshape(-1, len(shape) + 1)
    places = entries[:, :-1]
    if (places >= shape).any():
        raise ValueError(f"expected counts of shape {shape}, received entries up to {places.max(axis=0).tolist()}")
    counts = np.zeros(shape, np.int64)
    counts[tuple(places.T)] = entries[:, -1]
    return counts

"""Random fields that come out the same on every machine.

Only integer arithmetic and the operations that IEEE 754 rounds exactly (+ - * / sqrt) are used, element by element:
no sines, no powers, no float sums, whose last digits differ from one processor to the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")
Field = NDArray[np.float32]
"""One value a pixel, float32 [height, width]."""


def between(rng: np.random.Generator, low: float, high: float) -> float:
    """One number of `low` to `high`."""
    return low + (high - low) * rng.random()


def pick(rng: np.random.Generator, items: Sequence[T]) -> T:
    """One of the items."""
    return items[int(rng.integers(len(items)))]


def direction(rng: np.random.Generator) -> tuple[float, float]:
    """A unit vector (x, y) in any direction."""
    t = rng.random()
    x, y = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
    for _ in range(int(rng.integers(4))):
        x, y = -y, x
    return x, y


def _taps(size: int, cell: float) -> list[tuple[NDArray[np.intp], Field]]:
    """Knot numbers and weights, both [size], of a quadratic B-spline with a knot every `cell` pixels."""
    position = (np.arange(size, dtype=np.float64) + 0.5) / cell
    knot = position.astype(np.intp)
    part = position - knot
    weights = (0.5 * (1 - part) * (1 - part), 0.5 + part * (1 - part), 0.5 * part * part)
    return [(knot + number, weight.astype(np.float32)) for number, weight in enumerate(weights)]


def wave(rng: np.random.Generator, size: int, cell: float) -> Field:
    """A smooth random line, float32 [size], of -1 to 1, that turns about every `cell` pixels."""
    knots = rng.random(int(size / cell) + 4, dtype=np.float32) * 2 - 1
    (a, wa), (b, wb), (c, wc) = _taps(size, cell)
    line: Field = knots[a] * wa + knots[b] * wb + knots[c] * wc
    return line


def smooth(rng: np.random.Generator, size: int, cell: float) -> Field:
    """A smooth random field, float32 [size, size], of -1 to 1, with hills about `cell` pixels wide."""
    knots = rng.random((int(size / cell) + 4,) * 2, dtype=np.float32) * 2 - 1
    (a, wa), (b, wb), (c, wc) = _taps(size, cell)
    columns = knots[:, a] * wa + knots[:, b] * wb + knots[:, c] * wc
    out: Field = columns[a]
    out *= wa[:, None]
    for knot, weight in ((b, wb), (c, wc)):
        row = columns[knot]
        row *= weight[:, None]
        out += row
    return out


def fractal(rng: np.random.Generator, size: int, cell: float, octaves: int) -> Field:
    """A sum of `octaves` smooth fields, each with hills half as wide and high as the last."""
    out = smooth(rng, size, cell)
    for octave in range(1, octaves):
        out += smooth(rng, size, cell / 2**octave) * np.float32(0.5**octave)
    return out


def enlarge(field: Field, factor: int, size: int) -> Field:
    """Bilinear enlargement of [n, n] to [size, size], n being at least size / factor + 1.

    Knots lie on the pixels 0, factor, 2 factor, ...
    """
    part = (np.arange(factor, dtype=np.float32) / np.float32(factor)).astype(np.float32)
    rise = field[:, 1:] - field[:, :-1]
    wide = (field[:, :-1, None] + rise[:, :, None] * part).reshape(len(field), -1)[:, :size]
    drop = wide[1:] - wide[:-1]
    out = drop[:, None, :] * part[:, None]
    out += wide[:-1, None, :]
    return out.reshape(-1, size)[:size]

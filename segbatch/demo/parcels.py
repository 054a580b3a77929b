"""Farm land: parcels of many crops, with furrows, wheel tracks and margins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segbatch.demo.noise import Field, between, direction, smooth

WARP = 14
"""Pixels that borders may bend."""
CROPS = np.array(
    [  # red, green, blue, depth of the furrows, roughness
        (198, 178, 122, 0.05, 0.06),  # wheat
        (182, 160, 110, 0.09, 0.05),  # stubble
        (128, 102, 78, 0.12, 0.08),  # ploughed
        (92, 76, 58, 0.12, 0.08),  # ploughed, wet
        (112, 158, 68, 0.06, 0.05),  # young corn, greener than any forest
        (88, 138, 56, 0.04, 0.08),  # meadow, greener than any forest
        (66, 106, 46, 0.10, 0.10),  # maize
        (52, 82, 42, 0.13, 0.12),  # potatoes, as dark as a forest
        (58, 76, 46, 0.07, 0.13),  # beet, as dark as a forest
        (84, 92, 54, 0.08, 0.12),  # beans
        (200, 190, 70, 0.03, 0.06),  # rape in flower
        (158, 156, 110, 0.03, 0.09),  # fallow
        (118, 124, 76, 0.00, 0.11),  # pasture
    ],
    dtype=np.float32,
)


@dataclass(frozen=True)
class Farmland:
    """Fields without end; what else there is lies on top."""

    color: Field
    """Red, green, blue of 0-255 in full light, float32 [3, size, size]."""
    border: NDArray[np.bool_]
    """Pixels on the line between two parcels, [size, size]."""


@dataclass(frozen=True)
class _Plan:
    """Which parcel each pixel belongs to, and where in it."""

    parcel: NDArray[np.intp]
    along: Field
    across: Field
    count: int


def _cuts(rng: np.random.Generator, length: int, low: int, high: int) -> NDArray[np.intp]:
    """Which piece each of `length` steps belongs to, the pieces being `low` to `high` long."""
    sizes = rng.integers(low, high, length // low + 1)
    return np.repeat(np.arange(len(sizes)), sizes)[:length]


def _regions(rng: np.random.Generator, size: int, count: int) -> NDArray[np.uint8]:
    """Nearest of `count` points, as x.s - s.s/2 at its largest: one sum a pixel and point."""
    line = np.arange(size, dtype=np.float32)
    points = rng.random((count, 2), dtype=np.float32) * size
    best = np.full((size, size), -np.inf, np.float32)
    region = np.zeros((size, size), np.uint8)
    for number, (x, y) in enumerate(points):
        score = (line * x)[None, :] + (line * y - (x * x + y * y) * np.float32(0.5))[:, None]
        closer = score > best
        np.copyto(best, score, where=closer)
        region[closer] = number
    return region


def _plan(rng: np.random.Generator, size: int) -> _Plan:
    """Regions with a grain of their own, cut into strips, and each strip into parcels."""
    count = 2 + size // 300
    region = _regions(rng, size, count)
    grain = np.array([direction(rng) for _ in range(count)], np.float32)
    line = np.arange(size, dtype=np.float32) - np.float32(size / 2)
    c, s = grain[:, 0][region], grain[:, 1][region]
    reach = size * 3 // 2 + 4 * WARP
    along = c * line[None, :] + s * line[:, None] + np.float32(reach / 2)
    across = c * line[:, None] - s * line[None, :] + np.float32(reach / 2)
    along += smooth(rng, size, 220) * WARP
    across += smooth(rng, size, 180) * WARP
    strips = np.stack([_cuts(rng, reach, 55, 170) for _ in range(count)])
    strips += (np.arange(count) * (reach // 55 + 2))[:, None]
    pieces = np.stack([_cuts(rng, reach, 90, 380) for _ in range(count * (reach // 55 + 2))])
    pieces += (np.arange(len(pieces)) * (reach // 90 + 2))[:, None]
    strip = strips.reshape(-1)[region.astype(np.intp) * reach + across.astype(np.intp)]
    parcel = pieces.reshape(-1)[strip * reach + along.astype(np.intp)]
    return _Plan(parcel, along, across, len(pieces) * (reach // 90 + 2))


def _zigzag(position: Field) -> Field:
    """Triangle wave of -1 to 1 with period 1."""
    wave: Field = np.abs(position - np.floor(position) - np.float32(0.5)) * 4 - 1
    return wave


def _border(parcel: NDArray[np.intp]) -> NDArray[np.bool_]:
    border = np.zeros(parcel.shape, np.bool_)
    border[:, 1:] = parcel[:, 1:] != parcel[:, :-1]
    border[1:] |= parcel[1:] != parcel[:-1]
    return border


def farmland(rng: np.random.Generator, size: int, grain: Field) -> Farmland:
    """Paint fields over the whole scene.

    Args:
        rng: where the crops come from.
        size: pixels a side.
        grain: fine noise of -1 to 1, [size, size]; it roughens the crops.
    """
    plan = _plan(rng, size)
    crops = CROPS[rng.integers(len(CROPS), size=plan.count)]
    tint = 1 + (rng.random((plan.count, 3), dtype=np.float32) - np.float32(0.5)) * np.float32(0.14)
    crops[:, :3] *= tint * (1 + (rng.random((plan.count, 1), dtype=np.float32) - np.float32(0.5)) * np.float32(0.24))
    pitch = np.float32(1) / (np.float32(4) + rng.random(plan.count, dtype=np.float32) * 5)
    turned = rng.random(plan.count) < 0.25
    tracks = rng.random(plan.count) < 0.5

    position: Field = np.where(turned[plan.parcel], plan.along, plan.across)
    light = _zigzag(position * pitch[plan.parcel])
    light *= crops[:, 3][plan.parcel]
    light += crops[:, 4][plan.parcel] * grain
    wheel = _zigzag(position * np.float32(1 / between(rng, 30, 44)))
    light -= ((wheel > np.float32(0.86)) & (wheel < np.float32(0.96)) & tracks[plan.parcel]) * np.float32(0.1)
    light += smooth(rng, size, 48) * np.float32(0.08)
    light += 1
    border = _border(plan.parcel)
    light[border] *= np.float32(0.8)
    color = np.stack([crops[:, band][plan.parcel] for band in range(3)])
    color *= light
    return Farmland(color, border)

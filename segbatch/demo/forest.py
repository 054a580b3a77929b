"""Trees: crowns in stands, along hedges and alone, each a dome with its own tint."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segbatch.demo.noise import Field, between, fractal, pick, smooth

SPACING = 8
"""Pixels between the cells of the grid that holds at most one tree each."""
JITTER = 3
"""Pixels that a tree may stand away from the middle of its cell."""
REACH = 8
"""Pixels that a crown may spread; trees three cells apart never touch: 3 * SPACING - 2 * JITTER > 2 * REACH."""
KINDS = ((70.0, 98.0, 50.0), (48.0, 70.0, 46.0), (88.0, 96.0, 52.0), (58.0, 86.0, 54.0), (102.0, 96.0, 54.0))
"""Leaf colours: broadleaf, spruce, oak, mixed, early autumn."""


@dataclass(frozen=True)
class Trees:
    """Crowns as seen from above."""

    crown: NDArray[np.bool_]
    """Pixels under a crown, [size, size]."""
    floor: NDArray[np.bool_]
    """Pixels of the ground between the crowns of a stand."""
    dome: Field
    """Height of the crown over its lower rim, pixels; 0 where there is none."""
    height: Field
    """Height of the crown over the ground, pixels; 0 where there is none."""
    color: Field
    """Red, green, blue of 0-255 in full light, [3, size, size]; 0 where there is no crown."""


@dataclass(frozen=True)
class _Planted:
    """Trees by number: place, radius in pixels, trunk in pixels, tint, and cell for telling neighbours apart."""

    row: NDArray[np.intp]
    column: NDArray[np.intp]
    radius: Field
    trunk: Field
    tint: Field
    batch: NDArray[np.intp]


def _plant(rng: np.random.Generator, size: int, border: NDArray[np.bool_], room: Field) -> _Planted:
    """Choose which cells hold a tree."""
    cells = size // SPACING
    shape = (cells, cells)
    rows, columns = (
        np.arange(cells).reshape(sides) * SPACING + SPACING // 2 + rng.integers(-JITTER, JITTER + 1, shape)
        for sides in ((-1, 1), (1, -1))
    )
    hills = fractal(rng, cells, 44, 5)
    wood = hills > np.sort(hills, axis=None)[int(between(rng, 0.5, 0.82) * hills.size)]
    chance = np.where(wood, np.float32(0.97), np.float32(0.004))
    blocks = border[: cells * SPACING, : cells * SPACING].reshape(cells, SPACING, cells, SPACING)
    hedge = blocks.any(axis=(1, 3)) & (smooth(rng, cells, 18) > np.float32(0.3)) & ~wood
    chance = np.where(hedge, np.float32(0.85), chance)
    age = smooth(rng, cells, 20)
    radius = 5 + age * np.float32(1.7) + rng.random(shape, dtype=np.float32) * 2 - 1
    grows = rng.random(shape, dtype=np.float32) < chance
    grows &= room[rows, columns] > radius * np.float32(0.55)

    kinds = np.array([pick(rng, KINDS) for _ in range(3)], np.float32)
    stand = np.clip((smooth(rng, cells, 12) + 1) * np.float32(1.5), 0, np.float32(2.99)).astype(np.intp)
    stray = rng.random(shape) < 0.12
    stand = np.where(stray, rng.integers(0, 3, shape), stand)
    tint = kinds[stand] * (1 + (rng.random((*shape, 1), dtype=np.float32) - np.float32(0.5)) * np.float32(0.36))
    tint *= 1 + (rng.random((*shape, 3), dtype=np.float32) - np.float32(0.5)) * np.float32(0.12)
    trunk = np.float32(between(rng, 4, 8)) + rng.random(shape, dtype=np.float32) * 3
    number = np.arange(cells)
    batch = (number % 3)[:, None] * 3 + (number % 3)[None, :]
    return _Planted(rows[grows], columns[grows], radius[grows], trunk[grows], tint[grows], batch[grows])


def _crowns(planted: _Planted, size: int, leaves: Field) -> tuple[Field, NDArray[np.int32]]:
    """Domes, the higher one winning, and the number of the tree each pixel shows (-1 for none).

    Trees of one batch never touch, so that each batch is written with plain indexing.
    """
    wide = size + 2 * REACH
    dome = np.zeros(wide * wide, np.float32)
    owner = np.full(wide * wide, -1, np.int32)
    rough = np.pad(leaves, REACH).reshape(-1)
    step = np.arange(-REACH, REACH + 1)
    window = (step[:, None] * wide + step).reshape(-1)
    far = (step[:, None] * step[:, None] + step * step).reshape(-1).astype(np.float32)
    for batch in range(9):
        (trees,) = np.nonzero(planted.batch == batch)
        square = planted.radius[trees] * planted.radius[trees]
        tree, spot = np.nonzero(far[None, :] < square[:, None] * np.float32(1.25))
        place = ((planted.row[trees] + REACH) * wide + planted.column[trees] + REACH)[tree] + window[spot]
        bulge = 1 - far[spot] / square[tree] + rough[place] * np.float32(0.3)
        bulge *= planted.radius[trees][tree] * np.float32(0.9)
        higher = bulge > dome[place]
        place = place[higher]
        dome[place] = bulge[higher]
        owner[place] = trees[tree[higher]]
    inner = slice(REACH, REACH + size)
    return dome.reshape(wide, wide)[inner, inner].copy(), owner.reshape(wide, wide)[inner, inner]


def _crowded(crown: NDArray[np.bool_], reach: int, share: float) -> NDArray[np.bool_]:
    """Pixels whose square neighbourhood, `reach` pixels to each side, is under crowns by more than `share`."""
    side = 2 * reach + 1
    total = np.pad(crown, ((reach + 1, reach), (reach + 1, reach)), mode="reflect").astype(np.int32)
    np.cumsum(total, axis=0, out=total)
    np.cumsum(total, axis=1, out=total)
    near = total[side:, side:] - total[:-side, side:] - total[side:, :-side] + total[:-side, :-side]
    crowded: NDArray[np.bool_] = near > int(share * side * side)
    return crowded


def trees(rng: np.random.Generator, size: int, leaves: Field, border: NDArray[np.bool_], room: Field) -> Trees:
    """Grow trees over the scene.

    Args:
        rng: where the trees come from.
        size: pixels a side.
        leaves: fine noise of -1 to 1, [size, size]; it frays the crowns.
        border: lines where hedges may stand, [size, size].
        room: pixels to the nearest road or water, [size, size]; a crown reaches over it by less than half.
    """
    planted = _plant(rng, size, border, room)
    dome, owner = _crowns(planted, size, leaves)
    crown = owner >= 0
    shown = owner[crown]
    height = dome.copy()
    height[crown] += planted.trunk[shown]
    color = np.zeros((3, size, size), np.float32)
    for band in range(3):
        color[band][crown] = planted.tint[:, band][shown]
    floor = _crowded(crown, 6, 0.48) & ~crown & (room > 0)
    return Trees(crown, floor, dome, height, color)

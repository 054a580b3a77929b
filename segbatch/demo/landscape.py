"""Painted aerial landscapes with exact truth.

A scene is built as the land is: fields, water and roads on the ground, trees of a certain height on top, a sun that
lights crowns from one side and casts their shadows, and a camera that blurs, tints and adds noise. Truth is what lies
uppermost in each pixel, so that a road in a tree's shadow is a road, and one under a crown is forest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segbatch.demo.courses import Road, roads, water
from segbatch.demo.forest import Trees, trees
from segbatch.demo.noise import Field, between, direction, pick, smooth
from segbatch.demo.parcels import farmland

FIELD, FOREST, WATER, ROAD = 0, 1, 2, 3
WATER_COLORS = ((62.0, 78.0, 54.0), (80.0, 84.0, 60.0), (52.0, 70.0, 62.0), (70.0, 82.0, 76.0))
MUD = (116.0, 106.0, 80.0)
FOREST_FLOOR = (58.0, 58.0, 38.0)


@dataclass(frozen=True)
class Scene:
    """A picture and its truth."""

    image: NDArray[np.uint8]
    """Red, green, blue, uint8 [size, size, 3]."""
    mask: NDArray[np.uint8]
    """Class ids, uint8 [size, size]: 0 field, 1 forest, 2 water, 3 road."""


def paint_scene(seed: int, number: int, size: int) -> Scene:
    """Paint scene `number` of the world `seed`, `size` pixels a side: the same on every machine."""
    rng = np.random.Generator(np.random.PCG64([seed, number]))
    fine = _speckle(rng, size)
    land = farmland(rng, size, fine)
    heading = direction(rng)
    inside = water(rng, size, heading)
    ways = roads(rng, size, heading)
    grown = trees(rng, size, smooth(rng, size, 2.5), land.border, _room(inside, ways))

    color = land.color
    mask = np.full((size, size), FIELD, np.uint8)
    _pour(rng, color, mask, inside)
    for way in ways:
        _pave(color, mask, way, fine)
    _grow(color, mask, grown, fine)
    _shine(rng, color, grown)
    return Scene(_expose(rng, color), mask)


def _speckle(rng: np.random.Generator, size: int) -> Field:
    """Fine noise of -1 to 1: half its own, half shared with the pixels right and below."""
    raw = rng.integers(-127, 128, (size + 1, size + 1), dtype=np.int8).astype(np.float32)
    return (raw[:-1, :-1] * 2 + raw[1:, :-1] + raw[:-1, 1:]) / np.float32(508)


def _room(inside: Field, ways: list[Road]) -> Field:
    """Pixels to the nearest water or road; negative in it."""
    room = -inside
    for way in ways:
        np.minimum(room, way.distance - np.float32(way.half), out=room)
    return room


def _pour(rng: np.random.Generator, color: Field, mask: NDArray[np.uint8], inside: Field) -> None:
    """Lay water over the fields, with banks that fade from grass to mud to water."""
    deep = np.array(pick(rng, WATER_COLORS), np.float32)
    flow = smooth(rng, len(mask), 70) * np.float32(0.12) + smooth(rng, len(mask), 9) * np.float32(0.025) + 1
    near = inside > -8
    reeds = smooth(rng, len(mask), 7)[near] * np.float32(0.9) + 1
    wet = np.clip(inside[near] / (reeds * 4) + 1, 0, 1)
    depth = np.clip((inside[near] + 1) / (reeds * np.float32(between(rng, 4, 9))), 0, 1)
    for band in range(3):
        bank = color[band][near] * (1 - wet * np.float32(0.75)) + wet * np.float32(0.75 * MUD[band])
        color[band][near] = bank * (1 - depth) + deep[band] * flow[near] * depth
    mask[inside > 0] = WATER


def _pave(color: Field, mask: NDArray[np.uint8], way: Road, fine: Field) -> None:
    """Lay a road, with a worn margin beside it that still counts as field."""
    near = way.distance < np.float32(way.half + 2.5)
    distance = way.distance[near]
    paved = distance < np.float32(way.half)
    worn = np.where(paved, np.float32(1), np.float32(0.35))
    shade = 1 + fine[near] * np.float32(0.05) - (np.abs(distance - np.float32(way.half / 2)) < 1) * np.float32(0.05)
    dry = mask[near] != WATER
    for band in range(3):
        old = color[band][near]
        new = old * (1 - worn) + way.color[band] * shade * worn
        color[band][near] = np.where(paved | dry, new, old)
    mask[way.distance < np.float32(way.half)] = ROAD


def _grow(color: Field, mask: NDArray[np.uint8], grown: Trees, fine: Field) -> None:
    """Lay the trees over everything."""
    floor = grown.floor & (mask == FIELD)
    leaf = 1 + fine[grown.crown] * np.float32(0.16)
    for band in range(3):
        color[band][floor] = np.float32(FOREST_FLOOR[band])
        color[band][grown.crown] = grown.color[band][grown.crown] * leaf
    mask[grown.crown | floor] = FOREST


def _shift(field: Field, right: int, down: int) -> Field:
    """The field moved by whole pixels; what comes in from outside is the edge."""
    size = len(field)
    rows = np.clip(np.arange(size) - down, 0, size - 1)
    columns = np.clip(np.arange(size) - right, 0, size - 1)
    return field[rows][:, columns]


def _shine(rng: np.random.Generator, color: Field, grown: Trees) -> None:
    """Light the crowns from the sun's side and darken what lies in a shadow.

    A shadow falls `1 / slope` pixels for each pixel of height; the highest ray over a pixel is found by doubling steps.
    """
    x, y = direction(rng)
    slope = between(rng, 0.55, 1.0)
    ray = grown.height
    for step in (1, 2, 4, 8):
        ray = np.maximum(ray, _shift(ray, round(x * step), round(y * step)) - np.float32(step * slope))
    shadow = np.clip((ray - grown.height) / 2, 0, 1)
    light = 1 - shadow * np.float32(between(rng, 0.42, 0.58))

    rise = np.zeros_like(light)
    rise[:, 1:-1] = (grown.dome[:, 2:] - grown.dome[:, :-2]) * np.float32(x)
    rise[1:-1] += (grown.dome[2:] - grown.dome[:-2]) * np.float32(y)
    light[grown.crown] *= np.clip(1 + rise[grown.crown] * np.float32(0.17), np.float32(0.45), np.float32(1.6))
    color *= light


def _expose(rng: np.random.Generator, color: Field) -> NDArray[np.uint8]:
    """Take the picture: uneven light, blur, haze, a tint of its own, noise."""
    size = color.shape[1]
    line = np.arange(size, dtype=np.float32) / np.float32(size) - np.float32(0.5)
    x, y = direction(rng)
    fall = between(rng, 0.05, 0.22)
    light = (line * np.float32(x * fall))[None, :] + (line * np.float32(y * fall))[:, None]
    light += smooth(rng, size, 400) * np.float32(0.10)
    light += 1
    gain = between(rng, 0.86, 1.14)
    haze = between(rng, 0, 26)
    out = np.empty((size, size, 3), np.uint8)
    for band in range(3):
        seen = color[band]
        seen *= light
        seen[:, 1:-1] = (seen[:, :-2] + seen[:, 2:]) * np.float32(0.25) + seen[:, 1:-1] * np.float32(0.5)
        seen[1:-1] = (seen[:-2] + seen[2:]) * np.float32(0.25) + seen[1:-1] * np.float32(0.5)
        seen *= np.float32(gain * between(rng, 0.93, 1.07) * (1 - haze / 255))
        seen += np.float32(haze * (0.85, 0.95, 1.1)[band] + 0.5)
        seen += rng.integers(-5, 6, (size, size), dtype=np.int8)
        np.clip(seen, 0, 255, out=seen)
        out[:, :, band] = seen
    return out

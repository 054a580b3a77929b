"""Where rivers, lakes and roads run: fields of distance in pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from segbatch.demo.noise import Field, between, direction, enlarge, pick, smooth, wave

COARSE = 4
"""Distances are smooth, so they are computed on every fourth pixel and enlarged."""
GRAVEL = (172.0, 158.0, 134.0)
ROAD_COLORS = ((126.0, 124.0, 122.0), (152.0, 148.0, 143.0), (100.0, 100.0, 104.0), GRAVEL)


@dataclass(frozen=True)
class Road:
    """One road."""

    distance: Field
    """Pixels from the middle line, float32 [size, size], at least 0."""
    half: float
    """Half its width in pixels."""
    color: tuple[float, float, float]
    """Red, green, blue of 0-255."""


def _grid(size: int) -> tuple[Field, Field]:
    """Coarse x [1, n] and y [n, 1], in pixels from the middle of the scene."""
    line = np.arange(size // COARSE + 2, dtype=np.float32) * COARSE - np.float32(size / 2)
    return line[None, :], line[:, None]


def _course(
    rng: np.random.Generator, size: int, heading: tuple[float, float], *, swing: float, cell: float
) -> tuple[Field, Field]:
    """A winding line through the scene.

    Returns:
        The signed distance from it and the position along it, both coarse, in pixels. The distance is measured across
        the heading and divided by the length of the gradient, which is right to first order where the line bends.
    """
    x, y = _grid(size)
    c, s = np.float32(heading[0]), np.float32(heading[1])
    reach = 2 * size
    along = x * c + y * s + np.float32(size)
    across = y * c - x * s - np.float32(between(rng, -0.3, 0.3) * size)
    line = wave(rng, reach, cell) * np.float32(swing) + wave(rng, reach, cell / 3) * np.float32(swing / 6)
    slope = np.zeros_like(line)
    slope[1:-1] = (line[2:] - line[:-2]) * np.float32(0.5)
    step = np.clip(along, 0, reach - 2).astype(np.intp)
    part: Field = (along - step).astype(np.float32)
    middle = line[step] + (line[step + 1] - line[step]) * part
    steep = slope[step] + (slope[step + 1] - slope[step]) * part
    distance: Field = (across - middle) / np.sqrt(1 + steep * steep)
    return distance, along


def _river(rng: np.random.Generator, size: int, heading: tuple[float, float]) -> Field:
    distance, along = _course(rng, size, heading, swing=190, cell=260)
    half: Field = np.float32(between(rng, 26, 56)) * (1 + np.float32(0.35) * wave(rng, 2 * size, 150))
    step = np.clip(along, 0, 2 * size - 1).astype(np.intp)
    inside: Field = half[step] - np.abs(distance)
    return inside


def _lake(rng: np.random.Generator, size: int) -> Field:
    x, y = _grid(size)
    c, s = direction(rng)
    dx = x - np.float32(between(rng, -0.4, 0.4) * size)
    dy = y - np.float32(between(rng, -0.4, 0.4) * size)
    long = (dx * np.float32(c) + dy * np.float32(s)) * np.float32(between(rng, 0.5, 1.0))
    wide = dy * np.float32(c) - dx * np.float32(s)
    shore = smooth(rng, x.shape[1], 30) * 40 + smooth(rng, x.shape[1], 10) * 14
    inside: Field = np.float32(between(rng, 75, 150)) - np.sqrt(long * long + wide * wide) + shore
    return inside


def water(rng: np.random.Generator, size: int, heading: tuple[float, float]) -> Field:
    """A river along `heading`, lakes, or both.

    Returns:
        Pixels inside the bank, about, float32 [size, size]: positive in the water, negative on land.
    """
    river = rng.random() < 0.75
    bodies = [_river(rng, size, heading)] if river else []
    bodies += [_lake(rng, size) for _ in range(int(rng.integers(0, 3) if river else rng.integers(2, 4)))]
    inside = bodies[0]
    for body in bodies[1:]:
        inside = np.maximum(inside, body)
    return enlarge(inside, COARSE, size)


def roads(rng: np.random.Generator, size: int, heading: tuple[float, float]) -> list[Road]:
    """Three to five roads; the first crosses `heading`, so that it crosses a river rather than follows it."""
    c, s = heading
    out = []
    for number in range(int(rng.integers(3, 6))):
        course = (-s, c) if number == 0 else direction(rng)
        distance, _ = _course(rng, size, course, swing=between(rng, 30, 130), cell=between(rng, 220, 420))
        color = pick(rng, ROAD_COLORS)
        half = between(rng, 3.5, 5.0) if color is GRAVEL else between(rng, 4.5, 7.0)
        out.append(Road(np.abs(enlarge(distance, COARSE, size)), half, color))
    return out

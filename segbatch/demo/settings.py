"""What decides how a demo world looks, and what its files are called."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

SIDE = 4
"""Tiles along each side of a scene."""
SCENES = 20
ARCHIVE_SCENES = 6
TILE = 256
SEED = 0
VERSION = 1
"""Raised whenever the same settings give other pictures."""
LABELS_FILE = "labels.yaml"


@dataclass(frozen=True)
class Settings:
    """All that decides what a world looks like."""

    seed: int
    scenes: int
    archive_scenes: int
    tile: int
    version: int = VERSION

    @property
    def tiles(self) -> int:
        """Number of tiles in both parts."""
        return (self.scenes + self.archive_scenes) * SIDE * SIDE

    def parts(self) -> Iterator[tuple[str, int]]:
        """Part (`train` or `archive`) and number of every scene; the archive's come after those to train on."""
        for number in range(self.scenes + self.archive_scenes):
            yield ("train" if number < self.scenes else "archive"), number

    def files(self) -> Iterator[str]:
        """Every file of the world but its `world.json`, relative to its folder, in the order they are painted."""
        for part, number in self.parts():
            for row in range(SIDE):
                for column in range(SIDE):
                    yield from tile_names(part, number, row, column)
        yield LABELS_FILE


def tile_names(part: str, number: int, row: int, column: int) -> tuple[str, str]:
    """Image and mask of one tile, relative to the world's folder."""
    stem = f"scene{number:03d}_r{row}_c{column}"
    return f"{part}/images/{stem}.jpg", f"{part}/masks/{stem}.png"

"""The tile list of a run: one CSV line a tile, sorted by name, and the shards that are ranges of it."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from segbatch.runs.files import csv_line, replacing
from segbatch.runs.packs import plain_name

HEADER = ("image", "mask", "prediction")
_QUOTED = re.compile(r'[,"\r\n]')
"""What makes a field of a CSV line need quotes."""
LABELLED = "labelled"
"""Fourth column, only in lists whose tiles have masks of their labelled regions."""


@dataclass(frozen=True, order=True, slots=True)
class Tile:
    """One image and, where there is one, its mask; paths are POSIX and relative to the run's roots."""

    image: str
    mask: str = ""
    prediction: str = ""
    """A mask that exists already and is to be evaluated."""
    labelled: str = ""
    """A mask that is 0 where nobody labelled."""

    @property
    def name(self) -> str:
        """What reports call the tile: the image's path, or the mask's where no image is named; any archive left out."""
        return plain_name(self.image or self.mask)

    @property
    def fields(self) -> tuple[str, str, str, str]:
        """All of it, in order."""
        return self.image, self.mask, self.prediction, self.labelled


@dataclass(frozen=True)
class Shard:
    """A contiguous range of the tile list."""

    first: int
    """Position of the first tile in the list."""
    count: int
    """Number of tiles."""
    offset: int
    """Byte of the tile list where the first tile's line begins."""

    @property
    def stop(self) -> int:
        """Position after the last tile."""
        return self.first + self.count

    @property
    def indexes(self) -> range:
        """Positions of its tiles in the list."""
        return range(self.first, self.stop)


def write_tiles(path: Path, tiles: Iterable[Tile], shard_size: int, *, labelled: bool = False) -> list[Shard]:
    """Write the tile list and cut it into shards of `shard_size` tiles.

    Args:
        path: the file.
        tiles: sorted.
        shard_size: tiles of a shard.
        labelled: write the masks of labelled regions too.

    Returns:
        The shards in order; the last may be shorter. Without tiles there are none.
    """
    shards: list[Shard] = []
    with replacing(path) as handle:
        offset = handle.write(csv_line((*HEADER, LABELLED) if labelled else HEADER))
        first, count, start = 0, 0, offset
        for tile in tiles:
            row = (tile.image, tile.mask, tile.prediction)
            offset += handle.write(_line((*row, tile.labelled) if labelled else row))
            count += 1
            if count == shard_size:
                shards.append(Shard(first, count, start))
                first, count, start = first + count, 0, offset
        if count:
            shards.append(Shard(first, count, start))
    return shards


def _line(row: tuple[str, ...]) -> bytes:
    """Return a CSV line as `csv_line` does; most have nothing to quote, and are quickly made."""
    if _QUOTED.search("".join(row)):
        return csv_line(row)
    return (",".join(row) + "\n").encode("utf-8", "surrogateescape")


def read_tiles(path: Path, shard: Shard | None = None) -> Iterator[Tile]:
    """Yield the tiles of the list, or of one shard, without reading what lies before it."""
    with path.open("rb") as raw:
        if shard is not None:
            raw.seek(shard.offset)
        text = io.TextIOWrapper(raw, encoding="utf-8", errors="surrogateescape", newline="")
        rows = csv.reader(text)
        if shard is None:
            next(rows, None)
        for position, row in enumerate(rows):
            if shard is not None and position == shard.count:
                return
            yield Tile(*row)


def line_starts(path: Path, offset: int = 0) -> Iterator[int]:
    """Yield, for each tile of the list in order, the byte where its line begins.

    Args:
        path: the list.
        offset: byte where the line of the first one wanted begins; by default, that is the first of the list.
    """
    with path.open("rb") as handle:
        begin, end, quotes = offset, handle.seek(offset), 0
        for line in handle:
            end += len(line)
            quotes += line.count(b'"')
            # An odd number so far: the line break is part of a file's name.
            if quotes % 2 == 0:
                if begin:
                    yield begin
                begin = end

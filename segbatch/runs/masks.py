"""Where a predict run's masks lie: the one place that knows its layout."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from segbatch.runs import packs
from segbatch.runs.files import csv_line, replacing, write_bytes
from segbatch.runs.journal import JournalRow
from segbatch.runs.layout import RunPaths
from segbatch.runs.listing import mask_name
from segbatch.runs.run import Run
from segbatch.runs.tiles import Tile
from segbatch.spec.inference import Layout
from segbatch.spec.job import PredictJob

ARCHIVE_TILES = 10_000
"""Tiles of the list whose masks share an archive."""
Checked = tuple[int, Tile, JournalRow | None]


def layout_of(run: Run) -> Layout:
    """How a predict run lays out its masks."""
    job = run.job
    return job.predict.layout if isinstance(job, PredictJob) else "mirror"


def mask_file(layout: Layout, index: int, image: str) -> str:
    """Return a mask's path below the run's folder of masks, POSIX.

    Args:
        layout: `mirror`, the image's own path; `sharded`, by position in the tile list, a thousand entries in a folder;
            `tar`, a member of the run's pack, which the finishing task makes.
        index: position of the tile in the run's list.
        image: the tile's image.
    """
    if layout == "sharded":
        number = f"{index:09}"
        return f"{number[:-6]}/{number[-6:-3]}/{number}.png"
    if layout == "tar":
        return f"{packs.archive_name(index // ARCHIVE_TILES)}/{mask_name(image)}"
    return mask_name(image)


def mask_path(run: Run, index: int, tile: Tile) -> Path:
    """Where the mask of a tile lies: written by the run, or, when it evaluates, found there; maybe in a pack."""
    if run.record.kind == "evaluate":
        return Path(run.record.predictions_root, tile.prediction)
    return run.paths.masks / mask_file(layout_of(run), index, tile.image)


def read_mask(run: Run, index: int, tile: Tile, row: JournalRow | None = None) -> bytes:
    """Read the file of a tile's mask, not decoded.

    Args:
        run: the run.
        index: position of the tile in the run's list.
        tile: the tile.
        row: what is journalled of it. Until the finishing task has run, masks of `layout: tar` are found by it alone.

    Raises:
        OSError: there is none, or it cannot be read.
    """
    if row is not None and row.place:
        content = _placed(run.paths, row)
        if content is not None:
            return content
    return packs.read_bytes(mask_path(run, index, tile))


def _placed(paths: RunPaths, row: JournalRow) -> bytes | None:
    """Read a mask from the archive that an attempt wrote; None if it is gone or does not hold it."""
    task, attempt, offset = row.place.split("/")
    try:
        with paths.task(task).masks(int(attempt)).open("rb", buffering=0) as archive:
            content = os.pread(archive.fileno(), row.size, int(offset))
    except OSError:
        return None
    return content if (len(content), zlib.crc32(content)) == (row.size, row.crc32) else None


def with_table(run: Run, checked: Iterable[Checked]) -> Iterator[Checked]:
    """Pass tiles on, and write `masks.csv` of those that have a mask where names alone do not tell where it lies."""
    layout = layout_of(run)
    if layout == "mirror":
        yield from checked
        return
    with replacing(run.paths.mask_table) as table:
        table.write(csv_line(("tile", "mask")))
        for index, tile, row in checked:
            if row is not None:
                table.write(csv_line((tile.name, mask_file(layout, index, tile.image))))
            yield index, tile, row


class FolderOutput:
    """Writes each mask to a file of its own."""

    def __init__(self, run: Run) -> None:
        self._layout = layout_of(run)
        self._probabilities = run.paths.probabilities
        self.folder = run.paths.masks
        self._made: set[Path] = set()

    def put(self, index: int, image: str, mask: bytes, probability: bytes | None = None) -> str:
        """Write a tile's mask, and its probabilities before it; safe to call from several threads.

        Returns:
            What the journal needs to find it again: nothing.
        """
        name = mask_file(self._layout, index, image)
        if probability is not None:
            self._place(self._probabilities / name, probability)
        self._place(self.folder / name, mask)
        return ""

    def _place(self, path: Path, data: bytes) -> None:
        if path.parent not in self._made:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._made.add(path.parent)
        # Not flushed to disk one by one, which would quarter the speed: a mask that a dying node lost no longer has
        # the size and CRC of its journal row, and is made again. The task flushes all at once before it vouches for
        # them.
        write_bytes(path, data, durable=False)

    def close(self) -> None:
        """Nothing is open."""

"""What is known of one finished tile when the report is written."""

from __future__ import annotations

from dataclasses import dataclass

from segbatch.evaluation.counts import Counts


@dataclass(frozen=True, eq=False)
class TileRecord:
    """One finished tile."""

    tile: str
    """Name of the tile: the image's path relative to the run's images."""
    height: int
    """Pixels."""
    width: int
    """Pixels."""
    counts: Counts | None
    """Pixels by true and predicted class, int64 [C, C + 1]; None without ground truth."""
    predicted: Counts
    """Pixels by predicted class over the whole tile, also where truth is ignored; int64 [C]."""

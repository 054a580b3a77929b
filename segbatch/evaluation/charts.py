"""The shapes that the page draws: bars of a histogram, cells of a heat table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from segbatch.evaluation.counts import Counts
from segbatch.evaluation.scores import Score, ratio
from segbatch.evaluation.tables import NO_CLASS

WIDTH, HEIGHT = 1040, 190
"""Size of the histogram's drawing area, in units of its own."""


@dataclass(frozen=True)
class Bar:
    """One bar of a histogram, in drawing units."""

    x: float
    y: float
    width: float
    height: float
    note: str
    """What it stands for."""


def histogram(counts: Sequence[int]) -> list[Bar]:
    """Bars for counts over equal parts of 0 to 1; the highest fills the drawing, and none that is not 0 vanishes."""
    highest = max(counts, default=0) or 1
    step = WIDTH / len(counts)
    bars = []
    for position, count in enumerate(counts):
        height = max(2.0, HEIGHT * count / highest) if count else 0.0
        low, high = position / len(counts), (position + 1) / len(counts)
        tiles = "1 tile" if count == 1 else f"{count:,} tiles"
        note = f"mean IoU {low:.2f} to {high:.2f}: {tiles}"
        bars.append(Bar(round(position * step + 2, 2), round(HEIGHT - height, 2), step - 4, round(height, 2), note))
    return bars


@dataclass(frozen=True)
class Cell:
    """One cell of the heat table."""

    share: Score
    """Share of the true class's pixels; None where the class has none."""
    note: str
    right: bool
    """On the diagonal."""


@dataclass(frozen=True)
class Heat:
    """A confusion matrix, each row divided by its sum."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, int, tuple[Cell, ...]], ...]
    """Name of the true class, its pixels, and its cells."""


def heat(counts: Counts, names: Sequence[str], entered: Sequence[int]) -> Heat:
    """Return the heat table of int64 [C, C + 1] counts.

    Args:
        counts: pixels by true and predicted class.
        names: of the classes, by index.
        entered: indices of the classes to show: those that occur. "No class" is added where a pixel got none.
    """
    places = [*entered, *([len(names)] if counts[:, -1].any() else [])]
    headings = (*names, NO_CLASS)

    def row(true: int) -> tuple[str, int, tuple[Cell, ...]]:
        total = int(counts[true].sum())
        cells = []
        for place in places:
            pixels = int(counts[true, place])
            share = ratio(pixels, total)
            of = "" if share is None else f" ({100 * share:.2f} % of it)"
            note = f"{pixels:,} pixels of {names[true]} predicted as {headings[place]}{of}"
            cells.append(Cell(share, note, place == true))
        return names[true], total, tuple(cells)

    return Heat(tuple(headings[place] for place in places), tuple(row(true) for true in entered))

"""Small CSV files of a training: same rows, same bytes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from segbatch.runs.files import csv_line, write_bytes

Cell = str | int | float | None


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    """Write a CSV file whole; None is an empty cell, floats keep every bit, lines end in a line feed."""
    lines = [csv_line(header), *(csv_line(map(_text, row)) for row in rows)]
    write_bytes(path, b"".join(lines))


def _text(cell: Cell) -> str:
    return "" if cell is None else repr(cell) if isinstance(cell, float) else str(cell)

"""Small CSV files of a training: same rows, same bytes."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from segbatch.runs.files import write_bytes

Cell = str | int | float | None


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    """Write a CSV file whole; None is an empty cell, floats keep every bit, lines end in a line feed."""
    lines = [_line(header), *(_line([_text(cell) for cell in row]) for row in rows)]
    write_bytes(path, b"".join(lines))


def _text(cell: Cell) -> str:
    return "" if cell is None else repr(cell) if isinstance(cell, float) else str(cell)


def _line(cells: Sequence[str]) -> bytes:
    text = io.StringIO()
    # With "\r\n" as its line end the csv module quotes a lone carriage return too.
    csv.writer(text, lineterminator="\r\n").writerow(cells)
    return (text.getvalue()[:-2] + "\n").encode("utf-8", "surrogateescape")

"""The CSV files of a report: same counts, same bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from segbatch.evaluation.counts import Counts
from segbatch.evaluation.record import TileRecord
from segbatch.evaluation.scores import Score, Scores, ratio
from segbatch.runs.files import csv_line, replacing
from segbatch.spec.labels import Labels

NO_CLASS = "no class"
"""Heading of the last column of `confusion.csv`: pixels of a class that were predicted as none."""
CLASS_HEADER = (
    *("id", "name", "tp", "fp", "fn", "IoU", "Dice", "precision", "recall"),
    *("share of truth", "share of prediction"),
)

Row = Sequence[str | int]


def number(value: Score) -> str:
    """Write a share with six decimals, and nothing where it is undefined."""
    return "" if value is None else f"{value:.6f}"


def _write(path: Path, header: Row, rows: Iterable[Row]) -> None:
    with replacing(path) as handle:
        handle.write(csv_line(header))
        for row in rows:
            handle.write(csv_line(row))


def tile_header(labels: Labels, *, truth: bool) -> list[str]:
    """Column headings of `tiles.csv`, with or without ground truth."""
    if not truth:
        return ["tile", "height", "width", *(f"share {name}" for name in labels.names)]
    scores = [f"{what} {name}" for name in labels.names for what in ("IoU", "Dice")]
    return ["tile", "height", "width", "valid pixels", "accuracy", "mean IoU", "mean Dice", *scores]


def tile_row(record: TileRecord, scores: Scores | None) -> list[str | int]:
    """One line of `tiles.csv`: scores where they are given, else the share of each class in the whole tile."""
    start: list[str | int] = [record.tile, record.height, record.width]
    if scores is None:
        pixels = record.height * record.width
        return [*start, *(number(ratio(count, pixels)) for count in record.predicted.tolist())]
    overall = (scores.accuracy, scores.mean_iou, scores.mean_dice)
    pairs = zip(scores.iou, scores.dice, strict=True)
    return [*start, scores.valid, *map(number, overall), *(number(value) for pair in pairs for value in pair)]


@contextmanager
def tile_table(path: Path, labels: Labels, *, truth: bool) -> Iterator[Callable[[TileRecord, Scores | None], None]]:
    """Open `tiles.csv`; the function given takes one tile at a time, so memory stays flat however many come."""
    with replacing(path) as handle:
        handle.write(csv_line(tile_header(labels, truth=truth)))

        def add(record: TileRecord, scores: Scores | None) -> None:
            handle.write(csv_line(tile_row(record, scores)))

        yield add


def write_classes(path: Path, labels: Labels, scores: Scores | None, shares: Sequence[Score]) -> None:
    """Write `classes.csv`.

    Args:
        path: the file.
        labels: the classes.
        scores: of the whole set; None without ground truth, which leaves all but the last column empty.
        shares: share of the prediction by class, for the last column.
    """

    def rows() -> Iterator[Row]:
        for index, (item, share) in enumerate(zip(labels.scored, shares, strict=True)):
            middle: list[str | int] = [""] * 8
            if scores is not None:
                middle = [scores.tp[index], scores.fp[index], scores.fn[index]]
                columns = (scores.iou, scores.dice, scores.precision, scores.recall, scores.share_of_truth)
                middle += [number(column[index]) for column in columns]
            yield [item.id, item.name, *middle, number(share)]

    _write(path, CLASS_HEADER, rows())


def write_confusion(path: Path, labels: Labels, counts: Counts) -> None:
    """Write `confusion.csv`: true classes down, predicted ones across, and "no class" where a pixel got none."""
    columns = len(labels.names) + bool(counts[:, -1].any())
    header = ("true class", *labels.names, NO_CLASS)[: 1 + columns]
    _write(path, header, ([name, *row[:columns].tolist()] for name, row in zip(labels.names, counts, strict=True)))


def write_rejected(path: Path, rejected: Iterable[tuple[str, str]]) -> None:
    """Write `rejected.csv`: the tiles that could not be used, each with its reason."""
    _write(path, ("tile", "reason"), rejected)

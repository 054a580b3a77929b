"""The pairing table: a CSV file whose rows name images and masks."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from segbatch.errors import InputError
from segbatch.spec.data import Data


def split_columns(data: Data) -> tuple[str, ...]:
    """Columns that the split reads: those of parts and of groups."""
    split = data.split
    if split is None or data.pair.by != "csv":
        return ()
    group = split.group.column if split.group is not None else None
    return tuple(column for column in (split.column if split.by == "column" else None, group) if column)


def read_table(path: Path, columns: Sequence[str]) -> Iterator[Mapping[str, str]]:
    """Yield the rows of a CSV table with a header line.

    Raises:
        InputError: the table is missing, is no UTF-8 text, or lacks one of `columns`.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as handle:
            reader = csv.DictReader(handle, strict=True)
            have = list(reader.fieldnames or ())
            missing = [column for column in columns if column not in have]
            if missing:
                raise InputError(
                    f"data.pair.file: {path} has no column {missing[0]!r}. Its columns: {', '.join(have)}."
                )
            yield from reader
    except OSError as error:
        raise InputError(f"data.pair.file: cannot read {path}: {error.strerror}.") from error
    except csv.Error as error:
        raise InputError(f"data.pair.file: {path} is no CSV table: {error}.") from error


def pairs_of(data: Data, path: Path) -> Iterator[tuple[str, ...]]:
    """Yield image, mask ("" without) and the split's columns of each row that names an image.

    Args:
        data: the section.
        path: the table.

    Raises:
        InputError: as `read_table` does, or a path leaves the folder of the images.
    """
    pair, more = data.pair, split_columns(data)
    masks = [pair.mask_column] if data.masks is not None else []
    for row in read_table(path, [pair.image_column, *masks, *more]):
        image = row[pair.image_column] or ""
        if not image:
            continue
        _stay_inside(image, path, pair.image_column)
        yield image, (row[pair.mask_column] or "" if masks else ""), *(row[column] or "" for column in more)


def _stay_inside(image: str, table: Path, column: str) -> None:
    """Refuse paths that leave the images' folder: their masks would be written outside the run."""
    if os.path.isabs(image) or ".." in image.split("/"):
        raise InputError(
            f"data.pair.file: {table}, column {column!r}: {image!r} leaves the folder `data.images`. "
            "Expected a path below it; choose a higher `data.images`."
        )

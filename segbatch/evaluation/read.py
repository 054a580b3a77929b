"""Masks read as class indices, for evaluating without a model."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import UnidentifiedImageError

from segbatch.data.faults import PictureError
from segbatch.data.formats import HEAD_BYTES, READABLE, kind_of
from segbatch.data.pictures import open_picture, raw_mask
from segbatch.errors import InputError
from segbatch.evaluation.counts import IndexMap
from segbatch.runs import packs
from segbatch.spec.labels import IGNORED, UNCLAIMED

Role = Literal["truth", "prediction"]

_LISTED = 8
"""Values named in a message."""


def read_index_map(path: Path, table: bytes, *, role: Role) -> IndexMap:
    """Read a mask as class indices.

    Grey masks give their pixel values (one-bit ones 0 and 255), palette masks the numbers that their pixels hold and
    not the colours these stand for, colour masks with equal channels the first channel. The table then turns values
    into indices.

    Args:
        path: a PNG, JPEG, GIF or BMP file with at most 8 bits a channel.
        table: 256 bytes, value -> index, as `Labels.raw_to_index` and `Labels.id_to_index` give them.
        role: `truth` refuses values that no class claims; in a `prediction` they are "no class".

    Returns:
        uint8 [H, W]: indices; 255 is ignored (in truth) or "no class" (in a prediction).

    Raises:
        InputError: there is no such file, it cannot be read, it holds colours, or values that no class claims.
    """
    values = _values(path)
    indices: IndexMap = np.frombuffer(table, np.uint8)[values]
    unclaimed = indices == UNCLAIMED
    if role == "truth" and unclaimed.any():
        raise InputError(
            f"{path}: mask values that no class claims: {_listed(values[unclaimed])}. "
            "Give them to a class with `values:` in the labels, or set `unclaimed: ignore` there."
        )
    indices[unclaimed] = IGNORED
    return indices


def read_pair(truth: Path, predicted: Path, truth_table: bytes, predicted_table: bytes) -> tuple[IndexMap, IndexMap]:
    """Read ground truth and prediction of one tile as class indices, uint8 [H, W] both.

    Raises:
        InputError: as `read_index_map` does, or their sizes differ.
    """
    left = read_index_map(truth, truth_table, role="truth")
    right = read_index_map(predicted, predicted_table, role="prediction")
    if left.shape != right.shape:
        raise InputError(
            f"{predicted}: the prediction has {_size(right)} pixels, its truth {truth} has {_size(left)} (width x "
            "height). Expected masks on the tile's own grid; bring them there with nearest neighbour first."
        )
    return left, right


def _values(path: Path) -> NDArray[np.uint8]:
    content = _content(path)
    try:
        return raw_mask(open_picture(content))
    except PictureError as error:
        raise InputError(f"{path}: {error}. Expected class numbers in one channel of 8 bits, or a palette.") from error
    except UnidentifiedImageError as error:
        raise InputError(f"{path}: {_unknown(content)}.") from error
    except MemoryError:
        raise
    except Exception as error:  # Pillow raises nearly anything on damaged files.
        raise InputError(f"{path}: the mask is damaged: {error}.") from error


def _content(path: Path) -> bytes:
    try:
        return packs.read_bytes(path)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such mask.") from error
    except OSError as error:
        raise InputError(f"{path}: the mask cannot be read: {error.strerror}.") from error


def _unknown(content: bytes) -> str:
    kind = kind_of(content[:HEAD_BYTES])
    if kind in READABLE:
        return f"the mask is a damaged {kind} file"
    found = kind or ("another kind of file" if content else "an empty file")
    return f"expected a mask as {', '.join(READABLE)}, received {found}"


def _listed(values: NDArray[np.uint8]) -> str:
    found, numbers = np.unique(values, return_counts=True)
    order = np.argsort(-numbers, kind="stable")[:_LISTED]
    text = ", ".join(f"{found[at]} ({numbers[at]:,} pixels)" for at in order)
    rest = len(found) - len(order)
    return f"{text} and {rest} more" if rest else text


def _size(mask: IndexMap) -> str:
    return f"{mask.shape[1]} x {mask.shape[0]}"

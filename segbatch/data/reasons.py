"""Why a tile could not be used, in plain words; asked only for those that failed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segbatch.data.faults import PictureError
from segbatch.data.formats import ImageFormat
from segbatch.data.pictures import Picture, check_bands, raw_mask, read_picture
from segbatch.data.regions import REGION_TABLE
from segbatch.spec.labels import UNCLAIMED

READABLE_NOW = "could not be read at first, readable now: the file changed or storage failed"
_VALUES_SHOWN = 8


def explain(
    image: Path,
    mask: Path | None,
    fmt: ImageFormat,
    table: bytes | None,
    size: tuple[int, int] | None = None,
    labelled: Path | None = None,
) -> str:
    """Say why a tile failed.

    Args:
        image: the tile's image.
        mask: its ground truth; None where there is none.
        fmt: what the model takes.
        table: raw mask value to class index, 256 bytes; None where masks do not matter.
        size: height and width that every tile must have; None for any.
        labelled: mask of its labelled region; None where there is none.

    Returns:
        One sentence without a full stop. What is wrong with the mask starts with "mask: ", with the labelled region's
        with "labelled region: ".
    """
    try:
        picture = read_picture(image)
        check_image(picture, fmt, size)
    except PictureError as reason:
        return str(reason)
    if mask is None or table is None:
        return READABLE_NOW
    try:
        truth = read_picture(mask)
        check_mask(truth, raw_mask_of(truth), table, picture.size)
    except PictureError as reason:
        return f"mask: {reason}"
    if labelled is None:
        return READABLE_NOW
    try:
        region = read_picture(labelled)
        check_mask(region, raw_mask_of(region), REGION_TABLE, picture.size)
    except PictureError as reason:
        return f"labelled region: {reason}"
    return READABLE_NOW


def check_image(picture: Picture, fmt: ImageFormat, size: tuple[int, int] | None) -> None:
    """Refuse an image that the model cannot take.

    Raises:
        PictureError: its bits, bands or size differ.
    """
    if picture.bits != fmt.depth:
        raise PictureError(f"{picture.bits}-bit image, where the model takes {fmt.depth} bits")
    check_bands(picture.mode, fmt.bands)
    if size is not None and picture.size != tuple(size):
        raise PictureError(f"tile of {sized(picture.size)}; `data.size` declares {sized(size)}")


def raw_mask_of(picture: Picture) -> NDArray[np.uint8]:
    """Return a mask's values on disk, uint8 [H, W].

    Raises:
        PictureError: it holds colours, or more than 8 bits.
    """
    if picture.bits != 8:
        raise PictureError(f"{picture.bits}-bit mask; expected 8 bits")
    return raw_mask(picture.pixels)


def check_mask(picture: Picture, values: NDArray[np.uint8], table: bytes, size: tuple[int, int]) -> None:
    """Refuse a mask that does not fit its image or holds values that no class claims.

    Raises:
        PictureError: the sizes differ, or there are such values.
    """
    if picture.size != size:
        raise PictureError(f"{sized(picture.size)}; its image has {sized(size)}")
    counts = np.bincount(values.ravel(), minlength=256)
    unclaimed = [value for value in np.flatnonzero(counts).tolist() if table[value] == UNCLAIMED]
    if unclaimed:
        raise PictureError(f"values that no class claims: {listed(unclaimed, counts)}")


def listed(values: list[int], counts: NDArray[np.int64]) -> str:
    """Write values with their numbers of pixels, most frequent first: "7 (1,024 pixels), 9 (1 pixel)"."""
    common = sorted(values, key=lambda value: (-counts[value], value))
    shown = [f"{value} ({counts[value]:,} pixel{'s' if counts[value] != 1 else ''})" for value in common]
    more = f" and {len(shown) - _VALUES_SHOWN} more values" if len(shown) > _VALUES_SHOWN else ""
    return ", ".join(shown[:_VALUES_SHOWN]) + more


def sized(size: tuple[int, int]) -> str:
    """Write a size, given as height and width: "320 x 256 pixels (width x height)"."""
    return f"{size[1]} x {size[0]} pixels (width x height)"

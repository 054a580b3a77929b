"""Why a tile could not be used, in plain words; asked only of those that failed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from segbatch.data.formats import HEAD_BYTES, READABLE, ImageFormat, kind_of
from segbatch.data.pictures import PictureError, check_bands, open_picture, raw_mask
from segbatch.spec.labels import UNCLAIMED

TEXT_SHOWN = 20


def explain(
    image: Path, mask: Path | None, fmt: ImageFormat, table: bytes | None, size: tuple[int, int] | None = None
) -> str:
    """Say why a tile failed.

    Args:
        image: its image.
        mask: its ground truth, where there is one.
        fmt: what the network takes.
        table: raw mask value -> class index, 256 bytes.
        size: height and width that every tile must have; None for any.

    Returns:
        One sentence without a full stop.
    """
    try:
        picture = _opened(image)
        _check_image(picture, fmt, size)
        if mask is not None and table is not None:
            _check_mask(mask, table, picture.size)
    except PictureError as reason:
        return str(reason)
    return "could not be read at first but is readable now: the file changed, or storage failed for a moment"


def _opened(path: Path) -> object:
    content = _content(path)
    try:
        return open_picture(content)
    except (OSError, SyntaxError, ValueError) as error:
        cut = "truncated" in str(error).lower() or "broken" in str(error).lower()
        kind = kind_of(content[:HEAD_BYTES])
        if cut:
            raise PictureError(f"truncated {kind} file of {len(content)} bytes") from error
        raise PictureError(f"damaged {kind} file: {str(error).splitlines()[0]}") from error


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise PictureError(f"there is no file {path}") from None
    except OSError as error:
        raise PictureError(f"cannot be opened: {error.strerror}") from error
    if not content:
        raise PictureError("empty file")
    kind = kind_of(content[:HEAD_BYTES])
    if kind not in READABLE:
        readable = ", ".join(READABLE)
        what = f"{kind} file" if kind else _described(content)
        raise PictureError(f"{what}; expected {readable}")
    return content


def _described(content: bytes) -> str:
    start = content[:TEXT_SHOWN]
    if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in start):
        return f"text file that begins with {start.decode()!r}"
    return f"file of no known kind that begins with {start[:8].hex(' ')}"


def _check_image(picture: object, fmt: ImageFormat, size: tuple[int, int] | None) -> None:
    mode, (width, height) = picture.mode, picture.size  # type: ignore[attr-defined]
    if fmt.depth == 8:
        check_bands(mode, fmt.bands)
    elif not mode.startswith("I"):
        raise PictureError(f"8-bit image ({mode}), where the model takes 16 bits")
    if size is not None and (height, width) != tuple(size):
        raise PictureError(f"{width} x {height} pixels, where `data.size` says {size[1]} x {size[0]}")


def _check_mask(mask: Path, table: bytes, image_size: tuple[int, int]) -> None:
    try:
        picture = _opened(mask)
        values = raw_mask(picture)
    except PictureError as reason:
        raise PictureError(f"mask: {reason}") from reason
    if picture.size != image_size:  # type: ignore[attr-defined]
        wide, high = picture.size  # type: ignore[attr-defined]
        raise PictureError(f"image of {image_size[0]} x {image_size[1]} pixels, mask of {wide} x {high}")
    unclaimed = np.frombuffer(table, np.uint8)[values] == UNCLAIMED
    if unclaimed.any():
        found, counts = np.unique(values[unclaimed], return_counts=True)
        shown = ", ".join(f"{value} ({count} pixels)" for value, count in zip(found[:6], counts[:6], strict=True))
        more = f" and {len(found) - 6} more" if len(found) > 6 else ""
        raise PictureError(f"mask values that no class claims: {shown}{more}")

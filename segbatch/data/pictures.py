"""Reading pictures with Pillow and NumPy: for kinds that are rare, and wherever TensorFlow is not loaded."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segbatch.data.formats import READABLE

# A scene may be larger than what Pillow takes for an attack; these files are the user's own.
Image.MAX_IMAGE_PIXELS = None

GREY_MODES = ("1", "L", "LA")


class PictureError(ValueError):
    """A picture that cannot be used; the message is the reason, in plain words."""


def open_picture(content: bytes) -> Any:
    """Open a JPEG, PNG, GIF or BMP and decode it; of a GIF, the first frame.

    Raises:
        OSError, SyntaxError, ValueError: whatever Pillow has to say against the file.
    """
    picture = Image.open(io.BytesIO(content), formats=tuple(READABLE))
    picture.load()
    return picture


def to_bands(picture: Any, bands: int) -> NDArray[np.uint8]:
    """Return an 8-bit picture as [H, W, bands]: grey and palette widen to 3, alpha is dropped for 3 and 1.

    Raises:
        PictureError: the picture has not the bands, or more than 8 bits.
    """
    check_bands(picture.mode, bands)
    pixels = np.asarray(picture.convert({1: "L", 3: "RGB", 4: "RGBA"}[bands]), np.uint8)
    return pixels[..., np.newaxis] if bands == 1 else pixels


def check_bands(mode: str, bands: int) -> None:
    """Refuse a Pillow mode that a model of so many bands cannot take.

    Raises:
        PictureError: with the bands that came and those expected.
    """
    if mode.startswith(("I", "F")):
        raise PictureError("16-bit image, where the model takes 8 bits")
    have = {"1": 1, "L": 1, "LA": 2, "RGBA": 4, "CMYK": 4}.get(mode, 3)
    fits = {1: mode in GREY_MODES, 3: True, 4: mode == "RGBA"}[bands]
    if not fits:
        word = {"P": "palette of colours", "CMYK": "CMYK"}.get(mode, mode)
        raise PictureError(f"{have} band{'s' if have > 1 else ''} ({word}), where the model takes {bands}")


def raw_mask(picture: Any) -> NDArray[np.uint8]:
    """Return a mask's values [H, W] as they are on disk: indices of a palette, 0 and 255 of one bit, else the grey.

    Raises:
        PictureError: the mask holds colours, or more than 8 bits.
    """
    if picture.mode.startswith(("I", "F")):
        raise PictureError("16-bit mask; expected 8 bits")
    if picture.mode == "P":
        return np.asarray(picture, np.uint8)
    if picture.mode in GREY_MODES:
        return np.asarray(picture.convert("L"), np.uint8)
    pixels = np.asarray(picture.convert("RGB"), np.uint8)
    if (pixels != pixels[..., :1]).any():
        raise PictureError(f"mask of colours ({_some_colors(pixels)}); expected one value a pixel")
    return pixels[..., 0]


def _some_colors(pixels: NDArray[np.uint8], most: int = 4) -> str:
    colors, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_counts=True)
    common = colors[np.argsort(-counts, kind="stable")[:most]]
    names = ", ".join("#" + bytes(color.tolist()).hex() for color in common)
    return f"{len(colors)} colours, most often {names}"

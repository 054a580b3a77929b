"""Reading pictures with Pillow and NumPy: for kinds that are rare, and wherever TensorFlow is not loaded."""

from __future__ import annotations

import io
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segbatch.data.faults import PictureError, damage, not_a_picture, png_fault
from segbatch.data.formats import HEAD_BYTES, MOST_PIXELS, PICTURES, bits_of, kind_of
from segbatch.data.rasters import MODE, Raster, bands_in, read_raster
from segbatch.runs import packs

# The limit is our own, and says more than Pillow's.
Image.MAX_IMAGE_PIXELS = None

GREY_MODES = ("1", "L", "LA")
COLOR_MODES = ("RGB", "RGBA", "CMYK")
_BANDS = {"1": 1, "L": 1, "I": 1, "F": 1, "LA": 2, "RGBA": 4, "CMYK": 4}
_WORDS = {"1": "black and white", "L": "grey", "LA": "grey and alpha", "P": "palette of colours"}


@dataclass(frozen=True)
class Picture:
    """A file that was read and decoded."""

    kind: str
    """JPEG, PNG, GIF, BMP or TIFF, by content."""
    bits: int
    """Bits of a band on disk: 8 or 16; fewer than 8 count as 8."""
    pixels: Any
    """The decoded Pillow image; of a TIFF, a `Raster`."""

    @property
    def mode(self) -> str:
        """Pillow's name for what a pixel holds, such as RGB, L or P; of a TIFF, `Raster.mode`."""
        return str(self.pixels.mode)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, in pixels."""
        width, height = self.pixels.size
        return height, width


def read_bytes(path: Path) -> bytes:
    """Read a whole file.

    Raises:
        PictureError: it is missing, is no file, may not be read, or storage failed.
    """
    try:
        if packs.split_path(str(path)) is not None:
            return packs.read_bytes(path)
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise PictureError("a folder, not a file" if stat.S_ISDIR(mode) else "not a regular file")
        return path.read_bytes()
    except FileNotFoundError:
        broken = path.is_symlink()
        raise PictureError("missing: a link to a file that does not exist" if broken else "missing file") from None
    except PermissionError:
        raise PictureError("no permission to read the file") from None
    except OSError as error:
        raise PictureError(f"could not be read: {error.strerror or error}") from error


def read_picture(path: Path) -> Picture:
    """Read and decode a JPEG, PNG, GIF (first frame), BMP or TIFF (first page) file.

    Raises:
        PictureError: it cannot be read or decoded; the message says why.
    """
    content = read_bytes(path)
    if (reason := not_a_picture(content)) is not None:
        raise PictureError(reason)
    head = content[:HEAD_BYTES]
    try:
        pixels = open_picture(content)
    except (MemoryError, PictureError):
        raise
    except Exception as error:  # Pillow raises nearly anything on damaged files.
        raise PictureError(damage(content, error)) from error
    kind = kind_of(head)
    if kind == "PNG" and (reason := png_fault(content)) is not None:
        raise PictureError(reason)
    return Picture(kind, pixels.bits if isinstance(pixels, Raster) else bits_of(head), pixels)


def open_picture(content: bytes) -> Any:
    """Open a JPEG, PNG, GIF or BMP with Pillow and decode it, of a GIF the first frame; a TIFF becomes a `Raster`.

    Raises:
        PictureError: it is too large to be decoded.
        OSError, SyntaxError, ValueError: whatever Pillow has to say against the file.
        PictureError: against a TIFF.
    """
    if kind_of(content[:HEAD_BYTES]) == "TIFF":
        return read_raster(content)
    pixels = Image.open(io.BytesIO(content), formats=tuple(PICTURES))
    if pixels.width * pixels.height > MOST_PIXELS:
        raise PictureError(
            f"too large: {pixels.width:,} x {pixels.height:,} pixels (width x height), more than the {MOST_PIXELS:,} "
            "that a tile may have; cut it up first"
        )
    pixels.load()
    return pixels


def to_bands(pixels: Any, bands: int) -> NDArray[Any]:
    """Return an 8-bit Pillow image as [H, W, bands]: grey and palette widen to 3, alpha is dropped for 3 and 1.

    Of a `Raster`, its bands, without an alpha beyond them; they have its own number of bits.

    Raises:
        PictureError: the image has not the bands, or more than 8 bits.
    """
    check_bands(pixels.mode, bands)
    if isinstance(pixels, Raster):
        return np.ascontiguousarray(pixels.values[..., :bands])
    values = np.asarray(pixels.convert({1: "L", 3: "RGB", 4: "RGBA"}[bands]), np.uint8)
    return values[..., np.newaxis] if bands == 1 else values


def check_bands(mode: str, bands: int) -> None:
    """Refuse a mode that a model of so many bands cannot take.

    Raises:
        PictureError: with the bands that came and those expected.
    """
    if mode.startswith(MODE):
        count, alpha = bands_in(mode)
        fits = bands in (count, count - alpha)
    else:
        fits = {1: mode in GREY_MODES or mode.startswith(("I", "F")), 3: True, 4: mode == "RGBA"}.get(bands, False)
    if not fits:
        raise PictureError(f"image of {bands_of(mode)}, where the model takes {bands}")


def bands_of(mode: str) -> str:
    """Name the bands of a mode: "3 bands (RGB)"."""
    if mode.startswith(MODE):
        number, alpha = bands_in(mode)
        return f"{number} band{'s' if number > 1 else ''} of a TIFF{', the last alpha' if alpha else ''}"
    base = mode.split(";")[0]
    count = _BANDS.get(base, 3)
    return f"{count} band{'s' if count > 1 else ''} ({_WORDS.get(base, base)})"


def raw_mask(pixels: Any) -> NDArray[np.uint8]:
    """Return a mask's values [H, W] as they are on disk: indices of a palette, 0 and 255 of one bit, else the grey.

    Args:
        pixels: a decoded Pillow image, or a `Raster`.

    Raises:
        PictureError: the mask holds colours, or more than 8 bits.
    """
    if isinstance(pixels, Raster):
        return _raster_mask(pixels)
    if pixels.mode.startswith(("I", "F")):
        raise PictureError("16-bit mask; expected 8 bits")
    if pixels.mode == "P":
        return np.asarray(pixels, np.uint8)
    if pixels.mode in GREY_MODES:
        return np.asarray(pixels.convert("L"), np.uint8)
    return _first_of_equal(np.asarray(pixels.convert("RGB"), np.uint8))


def _raster_mask(raster: Raster) -> NDArray[np.uint8]:
    if raster.bits != 8:
        raise PictureError(f"{raster.bits}-bit mask; expected 8 bits")
    count = raster.values.shape[2] - raster.alpha
    if count not in (1, 3):
        raise PictureError(f"mask of {count} bands; expected one value a pixel")
    return _first_of_equal(to_bands(raster, count))


def _first_of_equal(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if (values != values[..., :1]).any():
        raise PictureError(f"mask of colours ({_some_colors(values)}); expected one value a pixel")
    return values[..., 0]


def shown_values(path: Path) -> NDArray[Any]:
    """Return the values of an image that people are to see, [H, W] or [H, W, bands] of uint8 or uint16.

    Raises:
        PictureError: it cannot be read.
    """
    pixels = read_picture(path).pixels
    if isinstance(pixels, Raster):
        return pixels.values
    return np.asarray(pixels.convert("RGB") if pixels.mode in ("P", "CMYK", "1") else pixels)


def _some_colors(values: NDArray[np.uint8], most: int = 4) -> str:
    colors, counts = common_colors(values)
    names = ", ".join("#" + bytes(color.tolist()).hex() for color in colors[:most])
    return f"{len(counts):,} colour{'s' if len(counts) > 1 else ''}, most often {names}"


def common_colors(values: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the colours [n, 3] of an RGB array, most frequent first, and their numbers of pixels [n]."""
    packed = values.astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)
    found, counts = np.unique(packed, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    colors = (found[order, np.newaxis] >> np.array([16, 8, 0], np.uint32)) & 255
    return colors.astype(np.uint8), counts[order].astype(np.int64)

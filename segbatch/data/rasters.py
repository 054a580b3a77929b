"""TIFF files of any number of bands, read by GDAL through rasterio."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from segbatch.data.faults import PictureError
from segbatch.data.formats import PICTURE_BANDS
from segbatch.errors import InputError
from segbatch.runs.walk import is_tiff

MODE = "TIFF:"
"""How the mode of a raster begins; Pillow has no name for six bands."""
_INSTALL = "pip install 'segbatch[geo]'"
_NAME = "tile.tif"
_OWN_NAME = re.compile(rf"\S*{re.escape(_NAME)}[,:]? ?")
_BITS = {"uint8": 8, "uint16": 16}


@dataclass(frozen=True)
class Raster:
    """The pixels of a TIFF, to be asked for its form as Pillow's images are."""

    values: NDArray[np.uint8] | NDArray[np.uint16]
    """[H, W, bands], as they are on disk."""
    alpha: bool
    """Whether the file says that its last band is alpha."""

    @property
    def mode(self) -> str:
        """`TIFF:` and the number of bands, with `A` behind it where the last is alpha."""
        return f"{MODE}{self.values.shape[2]}{'A' if self.alpha else ''}"

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.values.shape[1], self.values.shape[0]

    @property
    def bits(self) -> int:
        """Bits of a band, 8 or 16."""
        return _BITS[self.values.dtype.name]


def bands_in(mode: str) -> tuple[int, bool]:
    """Number of bands by a raster's mode, alpha counted, and whether the last is alpha."""
    number = mode.removeprefix(MODE)
    return int(number.removesuffix("A")), number.endswith("A")


def read_raster(content: bytes) -> Raster:
    """Decode the first page of a TIFF, GeoTIFF or BigTIFF; of where it lies on earth nothing is kept.

    Values of no data are values like others.

    Raises:
        PictureError: rasterio is not installed, the file is damaged, or its values are not uint8 or uint16.
    """
    if not has_rasterio():
        raise PictureError(f"a TIFF file, which is read with rasterio, and that is not installed: {_INSTALL}")
    rasterio = _rasterio()
    try:
        with rasterio.MemoryFile(content, filename=_NAME) as file, file.open(driver="GTiff") as opened:
            kinds = sorted(set(opened.dtypes))
            if len(kinds) > 1 or kinds[0] not in _BITS:
                raise PictureError(f"TIFF of {' and '.join(kinds)} values; expected uint8 or uint16")
            alpha = opened.colorinterp[-1] == rasterio.enums.ColorInterp.alpha
            values = np.ascontiguousarray(np.moveaxis(opened.read(), 0, -1))
    except rasterio.errors.RasterioError as error:
        words = " ".join(_OWN_NAME.sub("", str(error.__cause__ or error)).split())
        raise PictureError(f"damaged or truncated TIFF of {len(content):,} bytes: {words}") from error
    return Raster(values, alpha)


def has_rasterio() -> bool:
    """Tell whether this Python could read TIFF files, without loading what it takes."""
    return find_spec("rasterio") is not None


def need_rasterio(bands: int, paths: Iterable[bytes]) -> None:
    """Refuse to begin with images that could all not be read.

    Raises:
        InputError: there is no rasterio, and the model takes bands that only TIFF has, or a file's name ends in .tif.
    """
    if has_rasterio() or (bands in PICTURE_BANDS and not any(is_tiff(os.fsdecode(path)) for path in paths)):
        return
    raise InputError(f"TIFF files are read with rasterio, which this Python lacks: {_INSTALL}, where tasks run.")


@cache
def _rasterio() -> ModuleType:
    import rasterio
    import rasterio.errors

    # Tiles need not lie anywhere on earth.
    warnings.filterwarnings("ignore", category=rasterio.errors.NotGeoreferencedWarning)
    loaded: ModuleType = rasterio
    return loaded

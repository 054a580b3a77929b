"""TIFF files of many bands, as mapping teams have them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

BANDS = 6


def write_tiff(path: Path, pixels: np.ndarray, **options: Any) -> Path:
    """Write [H, W, bands] as a GeoTIFF."""
    import rasterio

    path.parent.mkdir(parents=True, exist_ok=True)
    height, width, count = pixels.shape
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shape = {"height": height, "width": width, "count": count, "dtype": pixels.dtype.name}
        with rasterio.open(path, "w", driver="GTiff", **shape, **options) as file:
            file.write(np.moveaxis(pixels, -1, 0))
    return path


def make_band_tiles(folder: Path, count: int, side: int = 32) -> list[tuple[Path, Path]]:
    """Write `images/*.tif` (6 bands, 16 bits) and `masks/`: class 1 is where the fifth band is high, and only it."""
    rng = np.random.default_rng(3)
    pairs = []
    for number in range(count):
        image = rng.integers(2000, 9000, (side, side, BANDS), dtype=np.uint16)
        truth = np.zeros((side, side), np.uint8)
        top, left = rng.integers(0, side // 2, 2)
        truth[top : top + side // 2, left : left + side // 2] = 1
        image[..., 4] = np.where(truth, 50_000, 10_000) + rng.integers(0, 3000, truth.shape)
        path = write_tiff(folder / "images" / f"{number:02}.tif", image, compress="deflate", interleave="band")
        mask = folder / "masks" / f"{number:02}.png"
        mask.parent.mkdir(exist_ok=True)
        Image.fromarray(truth).save(mask)
        pairs.append((path, mask))
    return pairs

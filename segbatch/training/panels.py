"""What the sheets of small pictures share: measures, colours, and how pixels become panels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE, GAP, HEAD, CAPTION = 192, 8, 26, 18
FONT, SMALL = 14, 11
PAPER, INK, FAINT = (255, 255, 255), (30, 30, 30), (110, 110, 110)
OVERLAY = 0.5

Rgb = NDArray[np.uint8]


def visible(images: NDArray[np.float32], depth: int, *, of_one: bool = False) -> Rgb:
    """Return images as people see them: grey, or the first three bands.

    Sensors of 16 bits seldom use them all: what is shown of them reaches from the 1st to the 99th percentile.

    Args:
        images: [n, h, w, bands] of 0 to 2**depth - 1.
        depth: 8 or 16.
        of_one: they are views of one tile, and shown in the same light, as the first one needs it.

    Returns:
        uint8 [n, h, w, 3].
    """
    bands = images[..., :3] if images.shape[-1] >= 3 else images[..., :1].repeat(3, axis=-1)
    if depth == 16:
        low, high = np.percentile(bands[:1] if of_one else bands, (1, 99), axis=(1, 2, 3), keepdims=True)
        bands = (bands - low) * (255.0 / np.maximum(high - low, 1e-6))
    shown: Rgb = np.rint(np.clip(bands, 0, 255)).astype(np.uint8)
    return shown


def blend(image: Rgb, over: Rgb, share: float = OVERLAY) -> Rgb:
    """Lay a picture over an image of the same size."""
    return np.rint(image * (1 - share) + over * share).astype(np.uint8)


def panel_size(shape: tuple[int, ...], side: int = SIDE) -> tuple[int, int]:
    """Height and width of a panel: small tiles are enlarged by whole factors, large ones shrunk."""
    longer = max(shape)
    scale: float = side // longer if longer <= side else side / longer
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


def scaled(panel: Rgb, size: tuple[int, int], *, smooth: bool) -> Image.Image:
    """Bring a picture to a panel's height and width; what holds classes must not be smooth."""
    method = Image.Resampling.BOX if smooth else Image.Resampling.NEAREST
    return Image.fromarray(np.ascontiguousarray(panel)).resize(size[::-1], method)


def printable(name: str, longest: int = 100) -> str:
    """Return a file name that can be drawn; of a long one, the end."""
    text = "".join(letter if letter.isprintable() else "?" for letter in name)
    return text if len(text) <= longest else f"...{text[-longest:]}"

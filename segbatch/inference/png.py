"""PNG files of one channel, for masks and probabilities: runs of equal bytes alone are shortened, no filters.

PNG specification (third edition, W3C 2025), sections 5 (chunks), 7 (serialization) and 11 (IHDR, PLTE, IDAT, IEND).
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _PALETTE = 0, 3


def encode_mask(pixels: NDArray[np.uint8 | np.uint16], palette: bytes | None = None) -> bytes:
    """Encode a one-channel picture.

    Args:
        pixels: uint8 or, without a palette, uint16 [H, W], at least one pixel.
        palette: RGB triples, one for each value that `pixels` may hold; None for a grey picture.

    Returns:
        The file: palette indices or grey, of as many bits as the pixels have.
    """
    (height, width), size = pixels.shape, pixels.dtype.itemsize
    # Each row begins with its filter: 0, none, since neighbouring labels differ by nothing or by anything.
    rows = np.zeros((height, width * size + 1), np.uint8)
    rows[:, 1:] = pixels if size == 1 else pixels.astype(">u2").view(np.uint8)
    header = struct.pack(">IIBBBBB", width, height, 8 * size, _GREY if palette is None else _PALETTE, 0, 0, 0)
    parts = [_SIGNATURE, _chunk(b"IHDR", header)]
    if palette is not None:
        parts.append(_chunk(b"PLTE", palette))
    # zlib works without the interpreter's lock, so that threads encode side by side.
    parts += [_chunk(b"IDAT", _compressed(rows.data)), _chunk(b"IEND", b"")]
    return b"".join(parts)


def _compressed(data: memoryview) -> bytes:
    """Compress as zlib's `Z_RLE` does: of label images a third smaller than level 1 without it, in the same time."""
    squeeze = zlib.compressobj(level=1, strategy=zlib.Z_RLE)
    return squeeze.compress(data) + squeeze.flush()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))

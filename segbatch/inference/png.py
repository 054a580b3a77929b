"""PNG files of one channel, for masks and probabilities: only repeated rows, and runs of equal bytes, are shortened.

PNG specification (third edition, W3C 2025), sections 5 (chunks), 7 (serialization), 9 (filters) and 11 (IHDR, PLTE,
IDAT, IEND).
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _PALETTE = 0, 3
_NONE, _UP = 0, 2
"""Filters, the first byte of each row: its bytes as they are, or what they are more than those of the row above."""


def encode_mask(pixels: NDArray[np.uint8 | np.uint16], palette: bytes | None = None) -> bytes:
    """Encode a one-channel picture.

    Args:
        pixels: uint8 or, without a palette, uint16 [H, W], at least one pixel.
        palette: RGB triples, one for each value that `pixels` may hold; None for a grey picture.

    Returns:
        The file: palette indices or grey, of as many bits as the pixels have.
    """
    (height, width), size = pixels.shape, pixels.dtype.itemsize
    rows = np.empty((height, width * size + 1), np.uint8)
    # Neighbouring labels differ by nothing or by anything.
    rows[:, 0] = _NONE
    rows[:, 1:] = pixels if size == 1 else pixels.astype(">u2").view(np.uint8)
    # A mask is mostly larger than what the network saw, so that every other row is the one above: half the file.
    repeated = np.flatnonzero((pixels[1:] == pixels[:-1]).all(axis=1)) + 1
    rows[repeated] = 0
    rows[repeated, 0] = _UP
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

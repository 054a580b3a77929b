"""What a picture file must hold to be read, and how its kind shows in its first bytes. No TensorFlow here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

HEAD_BYTES = 32
"""Leading bytes of a file that `kind_of` needs at most."""

JPEG_SIGNATURE = b"\xff\xd8\xff"
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
GIF_SIGNATURE = b"GIF8"
BMP_SIGNATURE = b"BM"
MOST_PIXELS = 100_000_000
"""Pixels of the largest picture that is decoded. A few bytes can claim more than memory holds (a decompression bomb),
and a batch is as large as its largest tile."""
PNG_SIZE_BYTE = 16
"""Width and height, four bytes each, the highest first."""
PNG_DEPTH_BYTE = 24
PNG_COLOR_BYTE = 25
PNG_GREY, PNG_RGB, PNG_PALETTE, PNG_GREY_ALPHA, PNG_RGBA = 0, 2, 3, 4, 6

TIFF_SIGNATURES = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
PICTURE_BANDS = (1, 3, 4)
"""Bands that other kinds than TIFF can have."""

PICTURES = {
    "JPEG": JPEG_SIGNATURE,
    "PNG": PNG_SIGNATURE,
    "GIF": GIF_SIGNATURE,
    "BMP": BMP_SIGNATURE,
}
"""What Pillow reads here."""
READABLE: dict[str, bytes | tuple[bytes, ...]] = {**PICTURES, "TIFF": TIFF_SIGNATURES}
EXPECTED = "expected JPEG, PNG, GIF, BMP or TIFF"
_OTHERS = {
    "JPEG 2000": (b"\x00\x00\x00\x0cjP  ", b"\xff\x4f\xff\x51"),
    "JPEG XL": (b"\xff\x0a", b"\x00\x00\x00\x0cJXL "),
    "PDF": (b"%PDF",),
    "gzip": (b"\x1f\x8b",),
    "ZIP": (b"PK\x03\x04",),
    "HDF5": (b"\x89HDF",),
    "NumPy array": (b"\x93NUMPY",),
}


@dataclass(frozen=True)
class ImageFormat:
    """What the network takes, and how JPEG files are decoded for it."""

    bands: int = 3
    """Bands of an image; others than `PICTURE_BANDS` only TIFF has."""
    depth: Literal[8, 16] = 8
    """Bits of a band: 8 gives uint8, 16 gives uint16."""
    decode: Literal["accurate", "fast"] = "accurate"
    """JPEG: `accurate` equals libjpeg and Pillow to the bit, `fast` takes a tenth less time and differs slightly."""


def bits_of(head: bytes) -> int:
    """Bits of a sample, 8 or 16, by the first `HEAD_BYTES` bytes of one of `PICTURES`; fewer than 8 count as 8."""
    deep = head.startswith(PNG_SIGNATURE) and len(head) > PNG_DEPTH_BYTE and head[PNG_DEPTH_BYTE] == 16
    return 16 if deep else 8


def kind_of(head: bytes) -> str:
    """Name the kind of a file by its first `HEAD_BYTES` bytes: a key of `READABLE`, another known kind, or ""."""
    for kind, signature in READABLE.items():
        if head.startswith(signature):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if head[4:8] == b"ftyp":
        return {b"avif": "AVIF", b"heic": "HEIC"}.get(head[8:12], "video or HEIF")
    return next((kind for kind, starts in _OTHERS.items() if head.startswith(starts)), "")

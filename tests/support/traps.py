"""Files that trip readers up, and what each of them should be for a model of three 8-bit bands."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIDE = 24


@dataclass(frozen=True)
class Trap:
    """One file: its content, and the part of the reason why it is no tile (empty: it is one)."""

    name: str
    content: bytes
    reason: str = ""

    @property
    def expected(self) -> np.ndarray:
        """Pixels by Pillow, uint8 [H, W, 3]."""
        return np.asarray(Image.open(io.BytesIO(self.content)).convert("RGB"))


def encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    """Return a picture's file."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def photograph() -> Image.Image:
    """Return a smooth picture with every colour, so that JPEG has something to do."""
    rng = np.random.default_rng(3)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8))
    return coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC)


@cache
def png_bomb(width: int = 30_000, height: int = 20_000) -> bytes:
    """Return a whole PNG of one colour whose pixels take ten thousand times its size."""

    def part(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compressobj(9)
    row = bytes(1 + (width + 7) // 8)
    data = b"".join([*(rows.compress(row) for _ in range(height)), rows.flush()])
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", data) + part(b"IEND", b"")


def jpeg_bomb(width: int = 30_000, height: int = 20_000) -> bytes:
    """Return a JPEG that claims to be larger than it is."""
    content = encoded(photograph(), "JPEG")
    at = content.index(b"\xff\xc0") + 5
    return content[:at] + struct.pack(">HH", height, width) + content[at + 4 :]


def traps() -> list[Trap]:
    """Return the good and the bad ones."""
    picture = photograph()
    jpeg, png = encoded(picture, "JPEG", quality=85), encoded(picture, "PNG")
    deep = Image.fromarray(np.arange(SIDE * SIDE, dtype=np.uint16).reshape(SIDE, SIDE) * 99)
    return [
        Trap("plain.jpg", jpeg),
        Trap("plain.png", png),
        Trap("jpeg named.png", jpeg),
        Trap("png named.jpg", png),
        Trap("progressive.jpg", encoded(picture, "JPEG", progressive=True, quality=80)),
        Trap("grey.jpg", encoded(picture.convert("L"), "JPEG")),
        Trap("cmyk.jpg", encoded(picture.convert("CMYK"), "JPEG", quality=95)),
        Trap("subsampled.jpg", encoded(picture, "JPEG", subsampling=2)),
        Trap("grey.png", encoded(picture.convert("L"), "PNG")),
        Trap("one bit.png", encoded(picture.convert("1"), "PNG")),
        Trap("rgba.png", encoded(picture.convert("RGBA"), "PNG")),
        Trap("palette.png", encoded(picture.quantize(16), "PNG")),
        Trap("picture.bmp", encoded(picture, "BMP")),
        Trap("picture.gif", encoded(picture.quantize(32), "GIF")),
        Trap("truncated.jpg", jpeg[: len(jpeg) // 2], "truncated"),
        Trap("truncated.png", png[: len(png) // 2], "truncated"),
        Trap("empty.png", b"", "empty"),
        Trap("text.jpg", b"<html>404 not found</html>", "text"),
        Trap("16 bits.png", encoded(deep, "PNG"), "16-bit"),
        Trap("webp.jpg", encoded(picture, "WEBP"), "WebP"),
        Trap("jpeg 2000.png", encoded(picture, "JPEG2000"), "JPEG 2000"),
        Trap("bomb.png", png_bomb(), "too large: 30,000 x 20,000 pixels"),
        Trap("bomb.jpg", jpeg_bomb(), "too large: 30,000 x 20,000 pixels"),
        Trap(
            "bomb.gif",
            encoded(picture.quantize(8), "GIF").replace(struct.pack("<HH", SIDE, SIDE), b"\xff" * 4),
            "large",
        ),
    ]


def write_traps(folder: Path) -> list[Trap]:
    """Write all of them into one folder."""
    folder.mkdir(parents=True, exist_ok=True)
    found = traps()
    for trap in found:
        (folder / trap.name).write_bytes(trap.content)
    return found

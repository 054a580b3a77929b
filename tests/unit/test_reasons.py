"""Reasons: what is wrong with a tile, in words that a user can act on."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from segbatch.data.faults import not_a_picture, png_fault
from segbatch.data.formats import ImageFormat
from segbatch.data.reasons import READABLE_NOW, explain
from tests.support.labels import TWO_CLASSES
from tests.support.traps import encoded, photograph

FORMAT = ImageFormat()
TABLE = TWO_CLASSES.raw_to_index()
PNG = encoded(photograph(), "PNG")
JPEG = encoded(photograph(), "JPEG")


def reason(folder: Path, content: bytes, fmt: ImageFormat = FORMAT, size: tuple[int, int] | None = None) -> str:
    path = folder / "image.jpg"
    path.write_bytes(content)
    return explain(path, None, fmt, None, size)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty file (0 bytes)"),
        (b"\0" * 70_000, "70,000 bytes that are all zero"),
        (b"<html>Not found</html>", "text file, starts with '<html>Not found</html>'"),
        ("über alles".encode() * 99, "text file, starts with 'über allesüber"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (b"RIFF\x24\0\0\0WEBPVP8 ", "WebP file; expected JPEG, PNG, GIF, BMP or TIFF"),
        (bytes(range(128, 160)), "not an image of a known kind, starts with the bytes 80 81 82 83 84 85 86 87"),
        (JPEG[:-200], f"truncated JPEG: the file ends too early, after {len(JPEG) - 200:,} bytes"),
        (PNG[:-200], f"truncated PNG: the file ends too early, after {len(PNG) - 200:,} bytes"),
        (PNG[:-12], f"truncated PNG: the file ends too early, after {len(PNG) - 12:,} bytes"),
        (PNG[:-20] + b"\0" + PNG[-19:], "damaged PNG: wrong checksum of its part IDAT"),
        (PNG, READABLE_NOW),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_a_file_is(tmp_path: Path, content: bytes, said: str) -> None:
    assert said in reason(tmp_path, content)


@pytest.mark.parametrize(
    ("picture", "fmt", "said"),
    [
        (Image.new("I;16", (4, 4)), ImageFormat(), "16-bit image, where the model takes 8 bits"),
        (Image.new("RGB", (4, 4)), ImageFormat(3, 16), "8-bit image, where the model takes 16 bits"),
        (Image.new("RGB", (4, 4)), ImageFormat(1), "image of 3 bands (RGB), where the model takes 1"),
        (Image.new("P", (4, 4)), ImageFormat(1), "image of 3 bands (palette of colours), where the model takes 1"),
        (Image.new("RGB", (4, 4)), ImageFormat(4), "image of 3 bands (RGB), where the model takes 4"),
        (Image.new("LA", (4, 4)), ImageFormat(4), "image of 2 bands (grey and alpha), where the model takes 4"),
        (Image.new("LA", (4, 4)), ImageFormat(1), READABLE_NOW),
        (Image.new("I;16", (4, 4)), ImageFormat(1, 16), READABLE_NOW),
    ],
)
def test_what_a_model_cannot_take(tmp_path: Path, picture: Image.Image, fmt: ImageFormat, said: str) -> None:
    assert reason(tmp_path, encoded(picture, "PNG"), fmt) == said


def test_16_bit_colour_counts_as_16_bit(tmp_path: Path) -> None:
    """Pillow brings such files to 8 bits without a word."""

    def part(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    content = (
        b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", zlib.compress(bytes(13))) + part(b"IEND", b"")
    )
    assert reason(tmp_path, content) == "16-bit image, where the model takes 8 bits"
    assert reason(tmp_path, content, ImageFormat(3, 16)) == READABLE_NOW


def test_declared_size(tmp_path: Path) -> None:
    content = encoded(Image.new("RGB", (30, 20)), "PNG")
    expected = "tile of 30 x 20 pixels (width x height); `data.size` declares 32 x 24 pixels (width x height)"
    assert reason(tmp_path, content, size=(24, 32)) == expected
    assert reason(tmp_path, content, size=(20, 30)) == READABLE_NOW


def test_files_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "link.png").symlink_to("nowhere")
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "image.png").write_bytes(PNG)
    said = {
        name: explain(tmp_path / name, None, FORMAT, None) for name in ("no.png", "link.png", "folder.png", "pipe.png")
    }
    assert said == {
        "no.png": "missing file",
        "link.png": "missing: a link to a file that does not exist",
        "folder.png": "a folder, not a file",
        "pipe.png": "not a regular file",
    }

    def refuse(error: OSError) -> str:
        def fail(path: Path) -> bytes:
            raise error

        monkeypatch.setattr(Path, "read_bytes", fail)
        return explain(tmp_path / "image.png", None, FORMAT, None)

    assert refuse(PermissionError(13, "Permission denied")) == "no permission to read the file"
    assert refuse(OSError(5, "Input/output error")) == "could not be read: Input/output error"


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        (None, "mask: missing file"),
        (np.zeros((24, 23)), "mask: 23 x 24 pixels (width x height); its image has 24 x 24 pixels (width x height)"),
        (np.full((24, 24), 7), "mask: values that no class claims: 7 (576 pixels)"),
        (np.arange(576).reshape(24, 24) % 12, "2 (48 pixels), 3 (48 pixels), "),
        (np.arange(576).reshape(24, 24) % 12, " and 2 more values"),
        (np.full((24, 24, 3), (9, 8, 7)), "mask: mask of colours (1 colour, most often #090807)"),
        (np.ones((24, 24, 3)), READABLE_NOW),
        (np.ones((24, 24)), READABLE_NOW),
    ],
)
def test_what_is_wrong_with_a_mask(tmp_path: Path, mask: np.ndarray | None, said: str) -> None:
    (tmp_path / "image.png").write_bytes(PNG)
    if mask is not None:
        Image.fromarray(mask.astype(np.uint8)).save(tmp_path / "mask.png")
    assert said in explain(tmp_path / "image.png", tmp_path / "mask.png", FORMAT, TABLE)
    assert explain(tmp_path / "image.png", tmp_path / "mask.png", FORMAT, None) == READABLE_NOW


@settings(max_examples=300)
@given(content=st.one_of(st.binary(max_size=80), st.integers(0, len(PNG)).map(lambda cut: PNG[:cut])))
def test_any_bytes_have_one_line_of_reason(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    said = reason(tmp_path_factory.getbasetemp(), content)
    assert said
    assert "\n" not in said
    if content == PNG:
        assert said == READABLE_NOW
    else:
        assert said != READABLE_NOW


@given(cut=st.integers(8, len(PNG) - 1))
def test_a_cut_png_has_a_fault(cut: int) -> None:
    """Pillow reads some of them; TensorFlow none."""
    assert png_fault(PNG) is None
    assert "truncated PNG" in (png_fault(PNG[:cut]) or "")


def test_text_in_another_encoding_is_no_text() -> None:
    assert "not an image of a known kind" in (not_a_picture("Straße".encode("latin-1")) or "")

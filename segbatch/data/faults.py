"""Why the bytes of a file are no picture, in plain words."""

from __future__ import annotations

import zlib

from segbatch.data.formats import EXPECTED, HEAD_BYTES, PNG_SIGNATURE, READABLE, kind_of

_SHOWN = 24
_TEXT_LOOKED_AT = 512
_LFS_POINTER = b"version https://git-lfs"


class PictureError(ValueError):
    """A picture that cannot be used; the message is the reason, in plain words."""


def not_a_picture(content: bytes) -> str | None:
    """Say why a file cannot be of a kind in `READABLE` by its size and first bytes; None if it may be one."""
    if not content:
        return "empty file (0 bytes)"
    kind = kind_of(content[:HEAD_BYTES])
    if kind in READABLE:
        return None
    if kind:
        return f"{kind} file; {EXPECTED}"
    if content.startswith(_LFS_POINTER):
        return "a Git LFS pointer, not the picture itself: fetch the files with `git lfs pull`"
    if not any(content):
        return f"{len(content):,} bytes that are all zero: the file was never written; {EXPECTED}"
    text = _as_text(content[:_TEXT_LOOKED_AT])
    if text is not None:
        return f"text file, starts with {text[:_SHOWN]!r}; {EXPECTED}"
    return f"not an image of a known kind, starts with the bytes {content[:8].hex(' ')}; {EXPECTED}"


def _as_text(start: bytes) -> str | None:
    try:
        # A character may be cut at the end of what is looked at.
        text = start.decode("utf-8", "strict" if len(start) < _TEXT_LOOKED_AT else "ignore")
    except UnicodeDecodeError:
        return None
    return text if all(character.isprintable() or character in "\t\r\n\f\ufeff" for character in text) else None


def damage(content: bytes, error: Exception) -> str:
    """Say what is wrong with a JPEG, PNG, GIF or BMP that could not be decoded.

    Args:
        content: the whole file.
        error: what the decoder said.
    """
    kind = kind_of(content[:HEAD_BYTES])
    if kind == "PNG" and (fault := png_fault(content)):
        return fault
    words = str(error).strip().splitlines()
    first = words[0] if words else type(error).__name__
    if "truncated" in first.lower() or (kind == "JPEG" and b"\xff\xd9" not in content[-64:]):
        return f"truncated {kind}: the file ends too early, after {len(content):,} bytes"
    if "cannot identify" in first:
        return f"damaged {kind}: its header makes no sense"
    return f"could not be decoded: {first}"


def png_fault(content: bytes) -> str | None:
    """Walk through a PNG's chunks; say where it is cut or which checksum is wrong, None if all is well.

    Pillow is content with a PNG whose last chunks are missing or damaged; TensorFlow refuses it.
    """
    place = len(PNG_SIGNATURE)
    while place + 12 <= len(content):
        length = int.from_bytes(content[place : place + 4], "big")
        name = content[place + 4 : place + 8]
        end = place + 8 + length
        if end + 4 > len(content):
            break
        if zlib.crc32(content[place + 4 : end]) != int.from_bytes(content[end : end + 4], "big"):
            return f"damaged PNG: wrong checksum of its part {name.decode('ascii', 'replace')} at byte {place:,}"
        if name == b"IEND":
            return None
        place = end + 4
    return f"truncated PNG: the file ends too early, after {len(content):,} bytes"

"""Writing files so that no reader ever sees half of one."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

TEMPORARY_SUFFIX = ".tmp"


def temporary_name(path: Path) -> Path:
    """Name beside `path` for a file in the making; unique, so that two attempts never share one."""
    return Path(_temporary_name(os.fspath(path)))


def _temporary_name(path: str) -> str:
    folder, name = os.path.split(path)
    # Bytes count towards the limit of names, not characters.
    short = name if name.isascii() and len(name) <= 100 else os.fsencode(name)[:100].decode("utf-8", "ignore")
    return os.path.join(folder, f".{short}.{os.getpid()}-{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")


def maker_of(name: str) -> int | None:
    """Return the process that a name of `temporary_name` tells of; None for any other name."""
    start, _, process = name.removesuffix(TEMPORARY_SUFFIX).rpartition(".")
    number, dash, token = process.partition("-")
    ours = name.endswith(TEMPORARY_SUFFIX) and start.startswith(".") and dash and len(token) == 8
    return int(number) if ours and number.isdigit() else None


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[BinaryIO]:
    """Open a file that appears as `path` when the block ends well, and not at all when it fails.

    Args:
        path: final name; its folder must exist.
        durable: flush to disk before the rename, so that a node losing power leaves the old file or the new one.
    """
    temporary = temporary_name(path)
    try:
        with temporary.open("xb") as handle:
            yield handle
            if durable:
                handle.flush()
                os.fsync(handle.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_bytes(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Write `data` to `path` by way of a temporary file."""
    # Not by `replacing` nor with paths as objects, at half of their cost, since every mask is written here.
    temporary = _temporary_name(os.fspath(path))
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            _write_all(descriptor, data)
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)  # noqa: PTH105 - see above
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _write_all(descriptor: int, data: bytes) -> None:
    pending = memoryview(data)
    while pending:
        pending = pending[os.write(descriptor, pending) :]


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, by way of a temporary file."""
    write_bytes(path, text.encode("utf-8", "surrogateescape"))


def write_json(path: Path, value: Any, *, durable: bool = True) -> None:
    """Write `value` as indented JSON with a final newline, by way of a temporary file."""
    write_bytes(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode(), durable=durable)


def csv_line(fields: Iterable[object]) -> bytes:
    r"""Return one CSV line ending in `\n`, UTF-8; bytes of paths that are no UTF-8 come out as they were."""
    text = io.StringIO()
    # The csv module quotes a carriage return only where it is part of its own line end.
    csv.writer(text, lineterminator="\r\n").writerow(fields)
    return (text.getvalue()[:-2] + "\n").encode("utf-8", "surrogateescape")


def append_bytes(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Append in a single write, so that lines of several writers never mix."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        if _torn(path):
            data = b"\n" + data
        _write_all(descriptor, data)
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _torn(path: Path) -> bool:
    """Tell whether a file ends within a line, which would swallow the next one."""
    with path.open("rb") as handle:
        size = handle.seek(0, os.SEEK_END)
        handle.seek(max(size - 1, 0))
        return size > 0 and handle.read(1) != b"\n"


def append_line(path: Path, value: Any) -> None:
    """Append one JSON line."""
    append_bytes(path, (json.dumps(value, allow_nan=False, separators=(",", ":")) + "\n").encode())


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read the JSON lines of `path`; a missing file is an empty one and a torn line is skipped."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return []
    lines = []
    for line in raw.split(b"\n"):
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            lines.append(value)
    return lines


def digest(*parts: bytes) -> str:
    """SHA-256 of the parts, as `sha256:` and 64 hexadecimal digits."""
    hasher = hashlib.sha256()
    for part in parts:
        hasher.update(part)
    return f"sha256:{hasher.hexdigest()}"


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, read in pieces."""
    with path.open("rb") as handle:
        return f"sha256:{hashlib.file_digest(handle, 'sha256').hexdigest()}"


def flush_tree(folder: Path) -> None:
    """Flush a finished folder and all its files to disk, so that it may be renamed to where others read it."""
    for path in (*folder.rglob("*"), folder):
        flush(path)


def flush(path: Path) -> None:
    """Flush a file, or the names in a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

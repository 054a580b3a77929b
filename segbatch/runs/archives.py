"""Writing archives: uncompressed tar whose bytes follow from names and contents alone, each with its index."""

from __future__ import annotations

import os
import tarfile
import zlib
from collections.abc import Iterable
from pathlib import Path

from segbatch.runs.files import csv_line, digest, replacing, write_json
from segbatch.runs.packs import HEADER, MANIFEST, SCHEMA_VERSION, ArchiveFacts, Entry, forget, index_path

END = bytes(2 * tarfile.BLOCKSIZE)
"""What an archive ends with."""


def tar_member(name: str, content: bytes) -> tuple[bytes, int]:
    """Return a file as tar holds it (POSIX pax: any name, any size), and the byte of it where the content begins.

    Owner, time and mode are always the same.
    """
    info = tarfile.TarInfo(name)
    info.size = len(content)
    head = info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    return head + content + bytes(-len(content) % tarfile.BLOCKSIZE), len(head)


def tar_size(entry: Entry) -> int:
    """Bytes of an archive whose last member this is."""
    return entry.offset + entry.size + -entry.size % tarfile.BLOCKSIZE + len(END)


def write_archive(path: Path, members: Iterable[tuple[str, bytes]]) -> ArchiveFacts:
    """Write an archive and its index; each appears whole or not at all.

    The archive's time is when its making began, by the clock of its file system: what is no older may be missing.

    Args:
        path: `.../pack-00000.tar`.
        members: names and contents.
    """
    rows, position = [csv_line(HEADER)], 0
    with replacing(path) as archive:
        begun = os.fstat(archive.fileno()).st_mtime_ns
        for name, content in members:
            block, start = tar_member(name, content)
            archive.write(block)
            rows.append(csv_line((name, position + start, len(content), zlib.crc32(content))))
            position += len(block)
        archive.write(END)
        archive.flush()
        os.utime(archive.fileno(), ns=(begun, begun))
    index = b"".join(rows)
    with replacing(index_path(path)) as handle:
        handle.write(index)
    forget()
    return ArchiveFacts(path.name, position + len(END), len(rows) - 1, digest(index))


def write_manifest(folder: Path, archives: Iterable[ArchiveFacts]) -> None:
    """Write `pack.json`, which makes a pack of archives that are all in place."""
    told = [{"name": one.name, "size": one.size, "members": one.members, "index": one.index} for one in archives]
    write_json(folder / MANIFEST, {"schema_version": SCHEMA_VERSION, "archives": told})

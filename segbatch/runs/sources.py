"""Where a job's images come from: a folder, patterns, several of them, or a list of names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from segbatch.errors import InputError
from segbatch.runs.walk import ANY_DEPTH, EVERYTHING, IMAGE_SUFFIXES, find_below
from segbatch.spec.data import Data, is_pattern

_BYTES_AT_ONCE = 1 << 20
_MARK = b"\xef\xbb\xbf"
"""What some editors put before UTF-8."""


@dataclass(frozen=True)
class Source:
    """A folder, and which files below it are meant."""

    text: str
    """As the job says it."""
    folder: Path
    parts: tuple[str, ...] = EVERYTHING
    """Pattern of the paths below the folder."""


@dataclass(frozen=True)
class Images:
    """All sources of a job's images."""

    root: Path
    """What names start from: the deepest folder that holds all sources."""
    sources: tuple[Source, ...]

    @property
    def patterned(self) -> bool:
        """Whether a source has wildcards."""
        return any(source.parts != EVERYTHING for source in self.sources)

    def names(self) -> Iterator[str]:
        """Yield the images by their POSIX paths below `root`, unsorted; some may come twice.

        Raises:
            InputError: a source is no folder, cannot be read, or has no pictures.
        """
        whole = [source for source in self.sources if source.parts == EVERYTHING]
        for source in self.sources:
            if not source.folder.is_dir():
                raise InputError(
                    f"data.images: {source.folder} is no folder. Expected the folder that holds the files."
                )
        yield from _found(self.root, whole)
        for source in self.sources:
            if source not in whole:
                yield from _found(self.root, [source])


def images_of(data: Data, root: Path) -> Images:
    """Read `data.images`.

    Args:
        data: the section.
        root: the folder that its paths start from.
    """
    texts = data.image_sources() or (".",)
    sources = tuple(_source(text or ".", root) for text in texts)
    if len(sources) == 1:
        return Images(sources[0].folder, sources)
    return Images(Path(os.path.commonpath([source.folder for source in sources])), sources)


def plain(folder: Path) -> Path:
    """Write `a/../b` as `b`, and leave links that need not be followed alone: nodes may mount them elsewhere."""
    return folder.resolve() if ".." in folder.parts else folder


def _source(text: str, root: Path) -> Source:
    whole = root / text
    if not is_pattern(text) or whole.is_dir():
        return Source(text, plain(whole))
    parts = Path(text).parts
    first = next(position for position, part in enumerate(parts) if is_pattern(part))
    pattern = parts[first:]
    if ".." in pattern:
        raise InputError(f"data.images: {text!r}: expected no '..' behind the first wildcard.")
    if pattern[-1] == ANY_DEPTH:
        pattern = (*pattern, "*")
    return Source(text, plain(root.joinpath(*parts[:first])), pattern)


def _found(root: Path, sources: list[Source]) -> Iterator[str]:
    """Find what belongs to sources of one pattern."""
    if not sources:
        return
    places = [(_prefix(source.folder, root), str(source.folder)) for source in sources]
    count = 0
    try:
        for name in find_below(places, sources[0].parts):
            count += 1
            yield name
    except OSError as error:
        raise unreadable("data.images", error) from error
    if not count:
        where = ", ".join(str(source.folder) for source in sources)
        if sources[0].parts != EVERYTHING:
            where = f"{where} match {'/'.join(sources[0].parts)!r}"
        raise no_pictures("data.images", where)


def no_pictures(key: str, where: str) -> InputError:
    """Say that a folder has no pictures."""
    kinds = ", ".join(sorted(IMAGE_SUFFIXES))
    return InputError(f"{key}: no pictures in {where}. Expected files ending in {kinds}, in any folder below it.")


def unreadable(key: str, error: OSError) -> InputError:
    """Say that a folder could not be read."""
    return InputError(f"{key}: cannot read {error.filename}: {error.strerror}. Expected folders that may be read.")


def _prefix(folder: Path, root: Path) -> str:
    inner = os.path.relpath(folder, root)
    return "" if inner == "." else f"{inner}/"


def listed_images(path: Path, root: Path) -> Iterator[str]:
    """Yield the images that a list names, by their paths below `root`.

    Args:
        path: a text file, one path a line; or with a zero byte behind each, as `find -print0` writes it. Paths are
            relative to `root`, or absolute.
        root: folder that they must lie in.

    Raises:
        InputError: the list cannot be read, or a path leaves the folder.
    """
    try:
        with path.open("rb") as handle:
            separator = b"\0" if b"\0" in handle.read(_BYTES_AT_ONCE) else b"\n"
            handle.seek(0)
            handle.seek(len(_MARK) if handle.read(len(_MARK)) == _MARK else 0)
            yield from (below(os.fsdecode(line), root, path) for line in _lines(handle, separator) if line)
    except OSError as error:
        raise InputError(f"data.image_list: cannot read {path}: {error.strerror}.") from error


def _lines(handle: BinaryIO, separator: bytes) -> Iterator[bytes]:
    if separator == b"\n":
        for line in handle:
            yield line.rstrip(b"\r\n")
        return
    rest = b""
    while piece := handle.read(_BYTES_AT_ONCE):
        *lines, rest = (rest + piece).split(separator)
        yield from lines
    yield rest


def below(name: str, root: Path, where: Path) -> str:
    """Return a listed path relative to `root`.

    Raises:
        InputError: it leads elsewhere: its mask would be written outside the run.
    """
    inside = os.path.relpath(name, root) if os.path.isabs(name) else name
    if os.path.isabs(inside) or ".." in inside.split("/"):
        raise InputError(
            f"data.image_list: {where}: {name!r} leaves the folder {root}. "
            "Expected a path below it; choose a higher `data.images`."
        )
    return os.path.normpath(inside)

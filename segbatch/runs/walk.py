"""Finding picture files below folders, by pattern, however many there are; links are followed once."""

from __future__ import annotations

import fnmatch
import heapq
import os
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache, reduce

from segbatch.runs import packs

TIFF_SUFFIXES = frozenset({".tif", ".tiff"})
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif"}) | TIFF_SUFFIXES
ANY_DEPTH = "**"
EVERYTHING = (ANY_DEPTH, "*")
"""Pattern of all files below a folder."""
_OPEN = 64
"""Folders that are read at once while one goes down; those below are read whole, since open files are few."""
States = frozenset[int]


def is_tiff(name: str) -> bool:
    """Tell by its name whether a file is a TIFF."""
    return os.path.splitext(name)[1].lower() in TIFF_SUFFIXES


class Pattern:
    """A path pattern by folders: `*`, `?` and `[...]` stay within a name, `**` stands for any folders or none.

    It reads a path from left to right and remembers, as states, which of its parts may come next.
    """

    def __init__(self, parts: Sequence[str]) -> None:
        self._parts = [None if part in ("*", ANY_DEPTH) else _matcher(part) for part in parts]
        self._deep = [part == ANY_DEPTH for part in parts]
        self.start = self._closed({0})
        # Few sets of states occur, however many folders there are.
        self.accepts = cache(self._accepts)

    def enter(self, states: States, folder: str) -> States:
        """Return the states behind a folder; none if nothing below it can match."""
        last = len(self._parts) - 1
        behind = {
            state if self._deep[state] else state + 1
            for state in states
            if self._deep[state] or (state < last and self._fits(state, folder))
        }
        return self._closed(behind)

    def _accepts(self, states: States) -> Callable[[str], object] | None:
        """Return what tells whether a file in a folder of these states matches; None if every file does."""
        last = len(self._parts) - 1
        if last not in states:
            return lambda name: False
        return self._parts[last]

    def _fits(self, state: int, name: str) -> bool:
        match = self._parts[state]
        return match is None or bool(match(name))

    def _closed(self, states: set[int]) -> States:
        for state in sorted(states):
            while self._deep[state]:
                state += 1
                states.add(state)
        return frozenset(states)


def _matcher(part: str) -> Callable[[str], object]:
    return re.compile(fnmatch.translate(part)).fullmatch


def find_below(
    places: Sequence[tuple[str, str]], parts: Sequence[str] = EVERYTHING, suffixes: frozenset[str] = IMAGE_SUFFIXES
) -> Iterator[str]:
    """Yield the files below folders whose path matches and whose suffix is one of `suffixes`, unsorted.

    Hidden files and folders (`.name`) are left out. Memory does not grow with the files, nor with the folders.

    A link to a folder is followed, unless what it leads to is found without it, or by the name of another link that
    comes first in the alphabet: so loops end, and the same files give the same names on every file system.

    Args:
        places: folders, each with what its files' names begin with: "" or a path that ends in "/".
        parts: the pattern, by folders; it ends with a file's part, never in `**`.
        suffixes: in lower case, with the dot.

    Raises:
        OSError: a folder cannot be read.
    """
    pattern = Pattern(parts)
    walked: dict[str, States] = {}
    ahead = [(prefix, folder, sorted(pattern.start)) for prefix, folder in places]
    heapq.heapify(ahead)
    while ahead:
        prefix, folder, found = heapq.heappop(ahead)
        real, states = os.path.realpath(folder), frozenset(found)
        if not _covered(real, states, walked, pattern):
            walked[real] = walked.get(real, frozenset()) | states
            yield from _Walk(pattern, suffixes, walked, ahead).files(prefix, real, states)


def _covered(folder: str, states: States, walked: dict[str, States], pattern: Pattern) -> bool:
    """Tell whether earlier walks found all that one could find from a folder on."""
    names: list[str] = []
    above = folder
    while True:
        if above in walked and not any(name.startswith(".") for name in names):
            reached = walked[above]
            for name in reversed(names):
                reached = pattern.enter(reached, name)
            if states <= reached:
                return True
        parent, name = os.path.split(above)
        if parent == above:
            return False
        names.append(name)
        above = parent


class _Walk:
    """One walk that follows no links, but notes those to folders.

    Args:
        pattern: what paths must match.
        suffixes: what names must end with.
        walked: real folders from which walks began, and their states.
        ahead: where links to folders are noted.
    """

    def __init__(
        self,
        pattern: Pattern,
        suffixes: frozenset[str],
        walked: dict[str, States],
        ahead: list[tuple[str, str, list[int]]],
    ) -> None:
        self._pattern, self._suffixes, self._walked, self._ahead = pattern, suffixes, walked, ahead

    def files(self, prefix: str, folder: str, states: States) -> Iterator[str]:
        """Yield the files below a folder, depth first."""
        stack = [(prefix, states, self._entries(folder, 0))]
        try:
            while stack:
                prefix, states, entries = stack[-1]
                accepts = self._pattern.accepts(states)
                for entry in entries:
                    name = entry.name
                    if name.startswith("."):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        below = self._pattern.enter(states, name)
                        if below and not below <= self._walked.get(entry.path, frozenset()):
                            stack.append((f"{prefix}{name}/", below, self._entries(entry.path, len(stack))))
                            break
                    elif entry.is_symlink() and entry.is_dir():
                        below = self._pattern.enter(states, name)
                        if below:
                            heapq.heappush(self._ahead, (f"{prefix}{name}/", entry.path, sorted(below)))
                    elif os.path.splitext(name)[1].lower() not in self._suffixes:
                        yield from self._packed(prefix, os.path.dirname(entry.path), name, states)
                    elif accepts is None or accepts(name):
                        yield prefix + name
                else:
                    stack.pop()
        finally:
            for _, _, entries in stack:
                if hasattr(entries, "close"):
                    entries.close()

    def _packed(self, prefix: str, folder: str, entry: str, states: States) -> Iterator[str]:
        """Yield the members of a pack, at the file that says that the folder is one; the pattern is of plain names."""
        for name in packs.names_at(folder, entry):
            *folders, base = packs.plain_name(name).split("/")
            accepts = self._pattern.accepts(reduce(self._pattern.enter, folders, states))
            if os.path.splitext(base)[1].lower() in self._suffixes and (accepts is None or accepts(base)):
                yield prefix + name

    def _entries(self, folder: str, depth: int) -> Iterator[os.DirEntry[str]]:
        if depth < _OPEN:
            return os.scandir(folder)
        with os.scandir(folder) as entries:
            return iter(list(entries))

"""Plain values together with where each of them was written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from segbatch.spec.problems import Origin, Problem
from segbatch.spec.section import KeyPath


@dataclass(frozen=True)
class Place:
    """Where a value and, in a mapping, its key were written."""

    value: Origin
    key: Origin | None = None

    @property
    def start(self) -> Origin:
        """The key where there is one, else the value."""
        return self.key or self.value


@dataclass
class Document:
    """A tree of mappings, lists and scalars, the place of every node, and what was wrong with the text."""

    value: Any
    places: dict[KeyPath, Place]
    problems: list[Problem] = field(default_factory=list)

    def place(self, path: KeyPath) -> Place:
        """Place of the value at `path` or, where none was written, of the nearest node around it."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places[path]

    def at(self, path: KeyPath) -> Any:
        """Value at `path`; None where there is none."""
        value = self.value
        for step in path:
            value = child(value, step)
        return value

    def holds(self, path: KeyPath) -> bool:
        """Whether something was written at `path`."""
        return path in self.places

    def put(self, path: KeyPath, value: Any, place: Place | None = None) -> None:
        """Set the value at `path`, whose parent exists; its place stays unless a new one is given."""
        if not path:
            self.value = value
        else:
            self.at(path[:-1])[path[-1]] = value
        if place is not None:
            self._forget(path)
            self.places[path] = place

    def graft(self, path: KeyPath, other: Document) -> None:
        """Put the whole of `other` at `path`, with the places it was written at and its problems."""
        self.problems.extend(other.problems)
        key = self.place(path).key
        self.put(path, other.value)
        self._forget(path)
        self.places.update({path + below: place for below, place in other.places.items()})
        self.places[path] = Place(other.places[()].value, key)

    def rename(self, path: KeyPath, key: str) -> None:
        """Give the entry at `path` another key."""
        parent, target = self.at(path[:-1]), (*path[:-1], key)
        parent[key] = parent.pop(path[-1])
        for old in [old for old in self.places if old[: len(path)] == path]:
            self.places[target + old[len(path) :]] = self.places.pop(old)

    def drop(self, path: KeyPath) -> None:
        """Remove a mapping's entry; its place is kept for messages."""
        self.at(path[:-1]).pop(path[-1], None)

    def _forget(self, path: KeyPath) -> None:
        for old in [old for old in self.places if old[: len(path)] == path and old]:
            del self.places[old]

    def scalars(self) -> Iterator[tuple[KeyPath, Any]]:
        """Yield every value that is no mapping or list, with its path."""
        yield from _scalars((), self.value)


def child(value: Any, step: str | int) -> Any:
    """One step into a mapping or list; None where it leads nowhere."""
    if isinstance(value, dict):
        return value.get(step)
    if isinstance(value, list | tuple) and isinstance(step, int) and 0 <= step < len(value):
        return value[step]
    return None


def _scalars(path: KeyPath, value: Any) -> Iterator[tuple[KeyPath, Any]]:
    if isinstance(value, dict | list):
        for step, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _scalars((*path, step), item)
    else:
        yield path, value


def merged(base: Document, over: Document) -> Document:
    """Lay `over` on `base`: mappings merge key by key, anything else replaces what was there.

    Neither document changes. The root's place is that of `over`.
    """
    places: dict[KeyPath, Place] = {(): over.places[()]}
    value = _merged((), base, over, base.value, over.value, places)
    return Document(value, places, base.problems + over.problems)


def _merged(path: KeyPath, base: Document, over: Document, low: Any, high: Any, places: dict[KeyPath, Place]) -> Any:
    if not (isinstance(low, dict) and isinstance(high, dict)):
        _copy_places(over, path, places)
        return high
    if path:
        places[path] = over.places[path]
    out = {}
    for key in [*low, *(key for key in high if key not in low)]:
        here = (*path, key)
        if key not in high:
            _copy_places(base, here, places)
            out[key] = low[key]
        elif key not in low:
            _copy_places(over, here, places)
            out[key] = high[key]
        else:
            out[key] = _merged(here, base, over, low[key], high[key], places)
    return out


def _copy_places(source: Document, path: KeyPath, places: dict[KeyPath, Place]) -> None:
    places.update({at: place for at, place in source.places.items() if at[: len(path)] == path})

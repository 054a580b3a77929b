"""Our entries in a table that belongs to the user: blocks between marks, every other line untouched."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from segbatch.errors import InputError

_DISABLED = "#DISABLED: "
"""What SLURM puts in front of the lines of an entry whose job was cancelled."""
_MARK = re.compile(rf"(?:{re.escape(_DISABLED)})*# (?P<side>>>>|<<<) segbatch (?P<name>\S+) (?P=side)\s*")


def begin_mark(name: str) -> str:
    """First line of a block."""
    return f"# >>> segbatch {name} >>>"


def end_mark(name: str) -> str:
    """Last line of a block."""
    return f"# <<< segbatch {name} <<<"


@dataclass(frozen=True)
class Block:
    """One of our entries as it stands in a table."""

    name: str
    text: str
    """The lines between the marks, each with its end."""

    @property
    def disabled(self) -> bool:
        """Whether SLURM has switched it off, since its job was cancelled."""
        lines = [line for line in self.text.splitlines() if line.strip()]
        return any(line.startswith(_DISABLED) for line in lines)


@dataclass(frozen=True)
class _Place:
    first: int
    """Line of the begin mark."""
    stop: int
    """Line after the end mark."""
    block: Block


def blocks(table: str) -> list[Block]:
    """Return our entries in a table.

    Raises:
        InputError: a begin mark has no end.
    """
    return [place.block for place in _places(_lines(table))]


def put(table: str, name: str, text: str) -> str:
    """Return the table with the entry `name`: in the place of the one that was there, else at the end.

    A table that ends within a line gets the line's end; all other lines stay as they are, byte for byte.

    Args:
        table: the whole table.
        name: of the entry; one word.
        text: its lines, each with its end.

    Raises:
        InputError: a begin mark has no end.
    """
    lines = _lines(table)
    block = "".join(f"{line}\n" for line in (begin_mark(name), *text.splitlines(), end_mark(name)))
    found = [place for place in _places(lines) if place.block.name == name]
    if not found:
        return "".join(_closed(lines)) + block
    first = found[0].first
    return "".join(_without(lines[:first], found)) + block + "".join(_without(lines, found, first))


def take(table: str, name: str) -> str:
    """Return the table without the entry `name`.

    Raises:
        InputError: a begin mark has no end.
    """
    lines = _lines(table)
    return "".join(_without(lines, [place for place in _places(lines) if place.block.name == name]))


def _lines(table: str) -> list[str]:
    # Only what cron takes for the end of a line; str.splitlines knows ten more.
    return re.findall(r"[^\n]*\n|[^\n]+", table)


def _closed(lines: list[str]) -> list[str]:
    return lines if not lines or lines[-1].endswith("\n") else [*lines[:-1], f"{lines[-1]}\n"]


def _without(lines: list[str], places: list[_Place], start: int = 0) -> Iterator[str]:
    taken = {number for place in places for number in range(place.first, place.stop)}
    yield from (line for number, line in enumerate(lines) if number >= start and number not in taken)


def _places(lines: list[str]) -> Iterator[_Place]:
    first, name = -1, ""
    for number, line in enumerate(lines):
        match = _MARK.fullmatch(line)
        if match is None:
            continue
        if match["side"] == ">>>":
            if name:
                raise _unclosed(name, first)
            first, name = number, match["name"]
        elif match["name"] == name:
            yield _Place(first, number + 1, Block(name, "".join(lines[first + 1 : number])))
            name = ""
    if name:
        raise _unclosed(name, first)


def _unclosed(name: str, line: int) -> InputError:
    return InputError(
        f"line {line + 1} of the table begins the entry {name!r}, and its end is missing: expected the line "
        f"{end_mark(name)!r}. Put it back with `crontab -e` (or `scrontab -e`), and try again; nothing was changed."
    )

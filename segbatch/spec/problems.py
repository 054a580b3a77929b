"""What is wrong with a file, said at the line and column where it stands."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from segbatch.errors import InputError

_WIDEST = 160
"""Longest piece of a source line that is shown."""


@dataclass(frozen=True)
class Origin:
    """Where a key or value was written."""

    file: str
    """File as the user knows it, or the whole `--set a.b=value`."""
    line: int = 0
    """From 1; 0 stands for the whole file."""
    column: int = 0
    """In characters, from 1."""
    text: str = ""
    """The line itself, without its end."""
    folder: Path = Path()
    """Folder that relative paths written here start from."""

    @property
    def place(self) -> str:
        """`file:line:column`, or less where there is less."""
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong."""

    origin: Origin
    message: str
    """What is wrong, what was expected, what came."""
    hint: str = ""
    """What is allowed instead, shown below the source line."""

    def __str__(self) -> str:
        """The message with its place, the source line, a caret below the column, and the hint."""
        lines = [f"{self.origin.place}: {self.message}"]
        if self.origin.line:
            lines += _pointed(self.origin.text, self.origin.column)
        if self.hint:
            lines.append(f"    {self.hint}")
        return "\n".join(lines)


def _pointed(text: str, column: int) -> list[str]:
    """Show the source line, cut down around `column` when it is long, and a caret below that column."""
    start = max(0, column - 1 - _WIDEST // 2) if len(text) > _WIDEST else 0
    piece = "".join(letter if letter.isprintable() or letter == "\t" else "?" for letter in text[start:][:_WIDEST])
    before = piece[: column - 1 - start]
    blank = "".join("\t" if letter == "\t" else " " * _cells(letter) for letter in before)
    return [f"    {piece}".rstrip(), f"    {blank}^"]


def _cells(letter: str) -> int:
    """Columns of a terminal that a letter takes."""
    if unicodedata.combining(letter):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


class JobFileError(InputError):
    """All problems of a job file and the files it draws on, in the order in which they stand there."""

    def __init__(self, problems: Iterable[Problem], files: Sequence[str] = ()) -> None:
        """Sort `problems` by `files` (as shown in origins, in reading order), line and column."""
        rank = {file: position for position, file in enumerate(files)}
        unique = dict.fromkeys(problems)
        self.problems = tuple(
            sorted(unique, key=lambda it: (rank.get(it.origin.file, len(rank)), it.origin.line, it.origin.column))
        )
        super().__init__(self._text())

    def _text(self) -> str:
        lines = [str(problem) for problem in self.problems]
        if len(self.problems) > 1:
            lines.append(f"{len(self.problems)} problems; nothing was started or written.")
        return "\n".join(lines)


def shown(path: Path | str) -> str:
    """Write a path for people: characters that would break the line or cannot be printed appear escaped."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in str(path))


def nearest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The one of `known` that `word` was most likely meant to be, if any comes close."""
    plain = {_plain(name): name for name in known}
    found = difflib.get_close_matches(_plain(word), plain, n=1, cutoff=cutoff)
    return plain[found[0]] if found else None


def _plain(word: str) -> str:
    return word.strip().lower().replace("-", "_").replace(" ", "_")


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """` Did you mean 'x'?`, or nothing where nothing comes close."""
    match = nearest(word, known) if isinstance(word, str) else None
    return f" Did you mean {match!r}?" if match else ""


def listed(words: Iterable[str], last: str = "and") -> str:
    """Join words for a sentence: a, b and c."""
    items = list(words)
    return f" {last} ".join([", ".join(items[:-1]), items[-1]]) if len(items) > 1 else "".join(items)

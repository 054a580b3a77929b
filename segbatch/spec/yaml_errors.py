"""What PyYAML says about broken YAML, in words that help to mend it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from yaml.error import Mark, MarkedYAMLError, YAMLError
from yaml.reader import ReaderError

from segbatch.spec.problems import Origin, Problem

_CLOSED = {"[": "]", "{": "}"}
_TAB_INDENT = re.compile(r"^ *\t[ \t]*\S")
_AT_START: Mapping[str, str] = {
    r"could not find expected ':'": "expected `key: value`; this line has no ':' after its key",
    r"unexpected end of stream|unexpected document separator": "the quoted text that starts here has no end",
}
"""Original message -> our words, where the fault lies at the beginning of what was being read."""
_AT_STOP: Mapping[str, str] = {
    r"mapping values are not allowed": "a second ':' in one entry, or a wrong indentation; quote text that holds ': '",
    r"but found '(-|<block sequence start>)'": "this list item is indented unlike its neighbours",
    r"expected <block end>": "this line is indented unlike its neighbours",
    r"expected ',' or '\]'": "expected ',' or ']' in the list that starts with '['",
    r"expected ',' or '\}'": "expected ',' or '}' in the mapping that starts with '{'",
    r"undefined alias": "no anchor of this name was defined above (`&name`)",
    r"second occurrence": "this anchor's name is taken; choose another",
    r"unknown escape character|escape sequence of": (
        r"unknown escape in double quotes; use single quotes, or \\ for a backslash"
    ),
    r"sequence entries are not allowed": "a list item cannot start here; put it on a line of its own",
    r"found character '(.)' that cannot start any token": r"text cannot start with '\1'; put it in quotes",
    r"expected the node content, but found '(.+)'": r"expected a value, received '\1'; put text in quotes",
    r"another document": "a second document starts here; expected one",
}
"""Original message -> our words, where the fault lies where reading stopped."""


def syntax_problems(
    error: YAMLError, lines: Sequence[str], origin: Origin, opened: Sequence[Mark] = ()
) -> list[Problem]:
    """Turn a parser's error into problems at their places.

    Args:
        error: what PyYAML raised.
        lines: the text.
        origin: the file.
        opened: where the collections begin that were not closed yet.

    Returns:
        One problem, or one for each line that is indented by a tab, since the parser stops at the first.
    """
    if isinstance(error, ReaderError):
        return [_unprintable(error, lines, origin)]
    if not isinstance(error, MarkedYAMLError):
        return [Problem(origin, f"not YAML: {error}")]
    text = error.problem or error.context or ""
    if r"found character '\t'" in text or "found a tab character" in text:
        return _tabs(error.problem_mark, lines, origin)
    if _cuts_reference(error.problem_mark, lines):
        message = "inside { } and [ ], text with ${...} needs quotes"
        return [_problem(error.problem_mark, message, lines, origin)]
    unclosed = _unclosed(text, error.problem_mark, lines, opened)
    if unclosed:
        return [_problem(opened[-1], unclosed, lines, origin)]
    for words, mark in ((_AT_START, error.context_mark), (_AT_STOP, error.problem_mark)):
        for pattern, said in words.items():
            if match := re.search(pattern, text):
                message = said.replace(r"\1", match[1]) if match.re.groups else said
                return [_problem(mark or error.problem_mark, message, lines, origin)]
    return [_problem(error.problem_mark or error.context_mark, f"not YAML: {text}", lines, origin)]


def _cuts_reference(mark: Mark | None, lines: Sequence[str]) -> bool:
    """Whether reading stopped at the brace of `${VAR}`."""
    return mark is not None and mark.column > 0 and lines[mark.line][mark.column - 1 :].startswith("${")


def _unclosed(text: str, mark: Mark | None, lines: Sequence[str], opened: Sequence[Mark]) -> str:
    """Say which bracket of an earlier line was never closed, if that is what is wrong."""
    if not opened or mark is None or not re.search(r"expected ',' or '.'|but found '<stream end>'", text):
        return ""
    start = opened[-1]
    opener = lines[start.line][start.column : start.column + 1] if start.line < mark.line else ""
    if opener not in _CLOSED:
        return ""
    what = "list" if opener == "[" else "mapping"
    return f"the {what} that starts here is not closed by '{_CLOSED[opener]}'"


def _problem(mark: Mark | None, message: str, lines: Sequence[str], origin: Origin) -> Problem:
    return Problem(origin, message) if mark is None else _at(mark.line, mark.column, message, lines, origin)


def _at(line: int, column: int, message: str, lines: Sequence[str], origin: Origin) -> Problem:
    text = lines[line] if line < len(lines) else ""
    return Problem(Origin(origin.file, line + 1, column + 1, text, origin.folder), message)


def _tabs(mark: Mark | None, lines: Sequence[str], origin: Origin) -> list[Problem]:
    found = [
        _at(number, line.index("\t"), "a tab in the indentation; YAML wants spaces", lines, origin)
        for number, line in enumerate(lines)
        if _TAB_INDENT.match(line)
    ]
    in_indent = mark is not None and not lines[mark.line][: mark.column].strip(" ")
    if not (found and in_indent):
        found.append(_problem(mark, "a tab between words; YAML wants spaces here", lines, origin))
    return found


def _unprintable(error: ReaderError, lines: Sequence[str], origin: Origin) -> Problem:
    code = error.character if isinstance(error.character, int) else ord(str(error.character)[:1] or "\0")
    message = f"the character U+{code:04X} is not allowed in YAML; leave it out, or write it as an escape in quotes"
    for number, line in enumerate(lines):
        column = line.find(chr(code))
        if column >= 0:
            return _at(number, column, message, lines, origin)
    return Problem(origin, message)

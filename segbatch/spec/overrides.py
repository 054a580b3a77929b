"""`--set a.b=value` on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from segbatch.spec.document import Document, Place
from segbatch.spec.problems import JobFileError, Origin, Problem
from segbatch.spec.section import KeyPath, dotted
from segbatch.spec.yaml_source import parse_value


def apply_set(document: Document, option: str, folder: Path) -> None:
    """Set one value of `document`, which changes in place; what is wrong is added to its problems.

    Args:
        document: the values.
        option: `a.b=value`; the value is YAML, list positions count from 0 (`augment.0.p=1`).
        folder: where relative paths start from.
    """
    origin = Origin(f"--set {option}", folder=folder)
    keys, equals, text = option.partition("=")
    steps = keys.split(".")
    if not equals or not all(steps):
        message = "expected a key and a value, such as --set train.epochs=5"
        document.problems.append(Problem(origin, message))
        return
    if steps[0] == "extends":
        message = "`extends` cannot be set; write a file that extends the one you mean"
        document.problems.append(Problem(origin, message))
        return
    try:
        value = parse_value(text, origin)
    except JobFileError as error:
        document.problems.extend(Problem(origin, problem.message) for problem in error.problems)
        return
    try:
        path = _way(document, steps)
    except _NoWayError as error:
        document.problems.append(Problem(origin, str(error)))
        return
    document.put(path, None, Place(origin, origin))
    document.graft(path, value)


class _NoWayError(Exception):
    """The keys lead nowhere."""


def _way(document: Document, steps: list[str]) -> KeyPath:
    """Turn the written keys into a path, making the mappings on the way that are not there yet."""
    path: KeyPath = ()
    value: Any = document.value
    for position, step in enumerate(steps):
        if isinstance(value, list):
            path = (*path, _item(value, step, path))
        elif isinstance(value, dict):
            path = (*path, step)
        else:
            raise _NoWayError(f"'{dotted(path)}' is {value!r} in the file and has no keys; set it as a whole")
        if position == len(steps) - 1:
            return path
        if document.at(path) is None:
            document.put(path, {})
        value = document.at(path)
    return path


def _item(value: list[Any], step: str, path: KeyPath) -> int:
    if not step.isdecimal() or int(step) >= len(value):
        many = f"positions 0 to {len(value) - 1}" if value else "no items"
        raise _NoWayError(f"'{dotted(path)}' is a list with {many}, which {step!r} is not one of")
    return int(step)

"""`${VAR}` and `${VAR:-default}` in text values."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from segbatch.spec.document import Document, Place
from segbatch.spec.problems import Origin, Problem, did_you_mean
from segbatch.spec.section import KeyPath

_REFERENCE = re.compile(r"\$(?P<escape>\$)?\{(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\})?")


@dataclass
class Expansion:
    """What expanding a document's values came upon."""

    doubtful: set[KeyPath] = field(default_factory=set)
    """Values that could not be expanded."""
    imported: set[KeyPath] = field(default_factory=set)
    """Values that begin with what came from the environment: as paths, they start from the current folder."""


def expand(
    document: Document, environ: Mapping[str, str], keep: Callable[[KeyPath], bool] = lambda _: False
) -> Expansion:
    """Replace the references in all text values of `document`, which changes in place.

    `$${` stands for `${` itself. Unset variables without a default and broken references become problems.

    Args:
        document: the values.
        environ: the environment.
        keep: says of a path that its text is for a later shell and stays as it is.
    """
    found = Expansion()
    for path, value in list(document.scalars()):
        if isinstance(value, str) and "${" in value and not keep(path):
            _expand_one(document, path, value, environ, found)
    return found


def _expand_one(document: Document, path: KeyPath, value: str, environ: Mapping[str, str], found: Expansion) -> None:
    place = document.place(path)

    def replaced(match: re.Match[str]) -> str:
        if match["escape"]:
            return match[0][1:]
        name, default = match["name"], match["default"]
        if name is None:
            message = f"broken reference {value[match.start() :][:20]!r}; expected ${{VAR}} or ${{VAR:-default}}"
        elif environ.get(name) or (name in environ and default is None):
            if match.start() == 0:
                found.imported.add(path)
            return environ[name]
        elif default is not None:
            return str(default)
        else:
            meant = did_you_mean(name, environ) if len(name) > 2 else ""
            message = f"the environment variable {name} is not set.{meant} `${{{name}:-...}}` gives a default"
        document.problems.append(Problem(_point_at(place, match), message))
        found.doubtful.add(path)
        return match[0]

    document.put(path, _REFERENCE.sub(replaced, value))


def _point_at(place: Place, match: re.Match[str]) -> Origin:
    """Where in its line the reference stands; the value's beginning where it is not to be found there."""
    origin = place.value
    start = origin.column - 1
    for quote in (0, 1):
        if origin.text.startswith(match[0], start + quote + match.start()):
            return replace(origin, column=start + quote + match.start() + 1)
    return origin

"""Paths in a job or site file become absolute: relative ones start from the file they are written in."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from segbatch.spec.document import Document
from segbatch.spec.model_name import is_model_name
from segbatch.spec.problems import Problem
from segbatch.spec.section import KeyPath

FROM_FILE: frozenset[KeyPath] = frozenset(
    {
        ("data", "root"),
        ("output", "runs"),
        ("output", "registry"),
        ("model", "bundle"),
        ("model", "weights"),
        ("train", "start_from"),
        ("challenger",),
        ("champion",),
        ("container", "image"),
    }
)
"""Paths of a job that start from the file."""
FROM_ROOT: frozenset[KeyPath] = frozenset(
    {
        ("data", "images"),
        ("data", "image_list"),
        ("data", "masks"),
        ("data", "labelled"),
        ("data", "predictions", "folder"),
        ("data", "pair", "file"),
    }
)
"""Paths of a job that start from `data.root`, and stay as they are."""
WEIGHTS_BY_NAME = "imagenet"


def resolve_paths(
    document: Document,
    from_file: Collection[KeyPath],
    from_elsewhere: Collection[KeyPath],
    imported: Collection[KeyPath],
    environ: Mapping[str, str],
) -> set[KeyPath]:
    """Make paths absolute; those of `from_elsewhere` only lose their `~`.

    `..` stays, since what it means depends on symbolic links.

    Args:
        document: the values; changes in place.
        from_file: paths that start from the file they are written in.
        from_elsewhere: paths that start from another setting.
        imported: values that came from the environment; they start from the current folder.
        environ: the environment, for `~`.

    Returns:
        Places of values that cannot be paths; each is a problem of the document now.
    """
    wrong = set()
    for path, text in _texts(document, [*from_file, *from_elsewhere]):
        if "\0" in text:
            message = "a path cannot hold the character U+0000"
            document.problems.append(Problem(document.place(path).value, message))
            wrong.add(path)
            continue
        text = at_home(text, environ)
        if path in from_file and not _is_name(path, text):
            folder = Path.cwd() if path in imported else document.place(path).value.folder
            text = str(folder.absolute() / text)
        document.put(path, text)
    return wrong


def _texts(document: Document, paths: Collection[KeyPath]) -> Iterator[tuple[KeyPath, str]]:
    for path in paths:
        value = document.at(path)
        if isinstance(value, str):
            yield path, value
        for position, item in enumerate(value if isinstance(value, list) else ()):
            if isinstance(item, str):
                yield (*path, position), item


def at_home(text: str, environ: Mapping[str, str]) -> str:
    """Expand `~` and `~user` at the beginning of a path."""
    if text == "~" or text.startswith("~/"):
        return environ.get("HOME", str(Path.home())) + text[1:]
    return os.path.expanduser(text) if text.startswith("~") else text  # noqa: PTH111 - unknown users stay as text


def _is_name(path: KeyPath, text: str) -> bool:
    """Whether the text names something that is no file: weights, a registered model, an image elsewhere, a command."""
    if path[-1] in ("bundle", "start_from"):
        return is_model_name(text)
    if path[-1] == "weights":
        return text == WEIGHTS_BY_NAME
    if path[-1] == "image":
        return "://" in text or not (text.endswith((".sif", ".img", ".sqsh", ".tar")) or text.startswith(("./", "../")))
    return path[-1] == "python" and "/" not in text

"""`labels:` given as a word: a built-in set or a labels file."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path

from segbatch.spec.builtin import builtin_document, builtin_names
from segbatch.spec.document import Document
from segbatch.spec.paths import at_home
from segbatch.spec.problems import JobFileError, Origin, Problem, did_you_mean, shown
from segbatch.spec.section import KeyPath
from segbatch.spec.yaml_source import read_yaml

LABELS: KeyPath = ("labels",)


def resolve_labels(
    document: Document, name: str, imported: Collection[KeyPath], environ: Mapping[str, str]
) -> tuple[Path | None, str]:
    """Put the labels that a word stands for in the word's place, each part with the place it was written at.

    What is wrong becomes a problem of `document`, and then the word is taken out.

    Args:
        document: the job; changes in place.
        name: what labels are called that do not say it.
        imported: values that came from the environment; as paths they start from the current folder.
        environ: the environment, for `~`.

    Returns:
        The labels file, if there is one, and what messages call it.
    """
    word = document.at(LABELS)
    path, file = None, ""
    if isinstance(word, str):
        if word in builtin_names():
            document.graft(LABELS, builtin_document(word))
            return None, f"built-in labels {word}"
        path, file = _graft_file(document, word, LABELS in imported, environ)
        name = Path(word).stem
    value = document.at(LABELS)
    if isinstance(value, dict):
        value.setdefault("name", name)
    return path, file


def _graft_file(document: Document, word: str, imported: bool, environ: Mapping[str, str]) -> tuple[Path | None, str]:
    origin = document.place(LABELS).value
    folder = Path.cwd() if imported else origin.folder
    path = folder / at_home(word, environ)
    file = named_from(origin, path)
    try:
        if "/" not in word and not word.endswith((".yaml", ".yml")) and not path.exists():
            meant = did_you_mean(word, builtin_names())
            message = f"no labels {word!r}: neither built in nor a file {shown(path)}.{meant}"
            raise JobFileError([Problem(origin, message, f"Built in: {', '.join(builtin_names())}.")])
        document.graft(LABELS, read_yaml(path, file, origin))
    except (JobFileError, ValueError) as error:
        problems = error.problems if isinstance(error, JobFileError) else (Problem(origin, str(error)),)
        document.problems.extend(problems)
        document.drop(LABELS)
    return path, file


def named_from(origin: Origin, path: Path) -> str:
    """What messages call a file that another one names: relative where the user's own words are."""
    if Path(origin.file).is_absolute():
        return shown(os.path.normpath(path))
    relative = os.path.relpath(path)
    return shown(relative if not relative.startswith("../../..") else os.path.normpath(path))

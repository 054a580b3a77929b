"""The label sets that come with segbatch."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from segbatch.spec.document import Document
from segbatch.spec.problems import Origin
from segbatch.spec.yaml_source import parse_yaml

_FOLDER = files("segbatch.spec") / "builtin_labels"


def builtin_names() -> list[str]:
    """Names of the built-in label sets, sorted."""
    return sorted(entry.name.removesuffix(".yaml") for entry in _FOLDER.iterdir() if entry.name.endswith(".yaml"))


def builtin_document(name: str) -> Document:
    """Read a built-in label set by its name, which must be one of `builtin_names`."""
    text = (_FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    return parse_yaml(text, Origin(f"built-in labels {name}", folder=Path()))

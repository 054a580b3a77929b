"""Names of registered models, as jobs and commands write them: `forest@champion`, `forest@2026-11-20`."""

from __future__ import annotations

import re
from dataclasses import dataclass

CHAMPION = "champion"
"""Stands for the version that is the champion just now."""
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
_KERAS_FILES = (".keras", ".h5", ".hdf5")


@dataclass(frozen=True)
class ModelName:
    """A model and one of its versions."""

    model: str
    version: str
    """A version's name, or `champion`."""

    def __str__(self) -> str:
        return f"{self.model}@{self.version}"


def is_model_name(text: str) -> bool:
    """Tell whether a text in place of a bundle's path names a registered model: it has an `@` and no slash."""
    return "@" in text and "/" not in text and not text.lower().endswith(_KERAS_FILES)


def parse_model_name(text: str) -> ModelName | None:
    """Take `model@version` apart; None where it is not written so."""
    model, _, version = text.partition("@")
    return ModelName(model, version) if is_plain_name(model) and is_plain_name(version) else None


def is_plain_name(text: str) -> bool:
    """Tell whether a text can name a model or a version: letters, digits, `.`, `_`, `-`, not `.` in front."""
    return _PART.fullmatch(text) is not None

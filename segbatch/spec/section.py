"""What all sections of a job file share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, ValidationInfo, ValidatorFunctionWrapHandler, WrapValidator, model_validator

KeyPath = tuple[str | int, ...]
"""Keys and list positions that lead to a value, from the outside in."""
COLLECT = "collect conflicts later"
"""Validation context key: accept settings that contradict each other; the caller asks `conflicts()` itself."""


def dotted(path: KeyPath) -> str:
    """Write a path of keys as `a.b[0].c`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


@dataclass(frozen=True)
class Conflict:
    """Settings that are right one by one and impossible together."""

    at: KeyPath
    """Key to point at, relative to the section that found it."""
    message: str
    """What is wrong and what to do."""
    needs: tuple[KeyPath, ...] = ()
    """Further keys that the finding rests on: where one of them is wrong itself, nothing is said."""


@dataclass(frozen=True)
class Expected:
    """Annotation that puts a key's type into words; completes the sentence "expected ..."."""

    words: str


class Section(BaseModel):
    """A frozen group of settings; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    def conflicts(self) -> Iterator[Conflict]:
        """Yield what this section's settings contradict among themselves."""
        yield from ()

    def given(self, *keys: str) -> list[str]:
        """Those of `keys` that were written, not left at their defaults; nothing (null) counts as not written."""
        return [key for key in keys if key in self.model_fields_set and getattr(self, key) is not None]

    @model_validator(mode="after")
    def _no_conflicts(self, info: ValidationInfo) -> Self:
        if not (info.context or {}).get(COLLECT):
            messages = [conflict.message for conflict in self.conflicts()]
            if messages:
                raise ValueError("; ".join(messages))
        return self


def _any_bytes(value: object, check: ValidatorFunctionWrapHandler) -> object:
    """Let undecodable bytes of file names (lone surrogates) through, which pydantic's own strings refuse."""
    if isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value):
        return value
    return check(value)


FileName = Annotated[str, WrapValidator(_any_bytes), Expected("a path")]
"""A path as text: any name that a file system allows."""

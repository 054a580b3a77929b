"""The keys of the files as text, from their declarations."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic_core import PydanticUndefined

from segbatch.spec import declared
from segbatch.spec.section import Section


@dataclass(frozen=True)
class Key:
    """One key of a file."""

    name: str
    """With the sections around it: `data.split.by`; `augment[].op` in a list, `profiles.NAME.qos` in a mapping."""
    type: str
    """In words; empty for a section."""
    default: str
    """As YAML; empty for none, `required` where the key has to be given."""
    description: str


_NAMED_BY_FILE = ("name", "labels.name")
"""Keys that a file's name stands in for."""


def keys_below(section: type[Section], prefix: str = "") -> Iterator[Key]:
    """Yield every key of a section and of those in it, in the order of the declarations."""
    for name, annotation in declared.keys_of(section).items():
        field = section.model_fields[name]
        inner = declared.section_in(annotation)
        item, mark = section_of_items(annotation)
        needed = field.is_required() and prefix + name not in _NAMED_BY_FILE
        default = "required" if needed else default_text(field.default)
        words = "" if inner or item else declared.words(annotation)
        yield Key(prefix + name, words, default, declared.description(section, name))
        if inner is not None:
            yield from keys_below(inner, f"{prefix}{name}.")
        elif item is not None:
            yield from keys_below(item, f"{prefix}{name}{mark}.")


def section_of_items(annotation: Any) -> tuple[type[Section] | None, str]:
    """The section that a list or a mapping of sections holds, and how a key in it is written."""
    for step, mark in ((0, "[]"), ("NAME", ".NAME")):
        inner = declared.inside(annotation, step)
        if inner is not None and declared.section_in(annotation) is None:
            return declared.section_in(inner), mark
    return None, ""


def default_text(value: Any) -> str:
    """A default as YAML; empty for nothing and for sections."""
    if value is None or value is PydanticUndefined or isinstance(value, Section | dict) or value == ():
        return ""
    if isinstance(value, str):
        return value
    return json.dumps(value)


def keys_text(sections: list[tuple[str, type[Section]]], only: str = "", width: int = 100) -> str:
    """Describe keys, each with type, default and description.

    Args:
        sections: the files, or kinds of file, each with its name; keys that several share are shown once.
        only: a key or section; just this one and what is below it.
        width: columns to fill.

    Returns:
        The text; empty where there is no such key.
    """
    shown: dict[Key, list[str]] = {}
    for title, section in sections:
        for key in keys_below(section):
            if not only or key.name == only or key.name.startswith((f"{only}.", f"{only}[")):
                shown.setdefault(key, []).append(title)
    blocks = [_block(key, titles if len(titles) < len(sections) else [], width) for key, titles in shown.items()]
    return "\n\n".join(blocks)


def _block(key: Key, titles: list[str], width: int) -> str:
    default = f"default {key.default}" if key.default not in ("", "required") else key.default
    facts = "  ".join(filter(None, [key.type, default, f"[{', '.join(titles)}]" if titles else ""]))
    first = textwrap.fill(f"{key.name}  {facts}".rstrip(), width, subsequent_indent="        ")
    rest = textwrap.fill(key.description, width, initial_indent="    ", subsequent_indent="    ")
    return f"{first}\n{rest}"

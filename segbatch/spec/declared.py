"""What the declarations say about a key: its type in words, what else may stand beside it, its description."""

from __future__ import annotations

import types
from collections.abc import Iterable
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Len, Lt, MinLen
from pydantic.fields import FieldInfo

from segbatch.spec.problems import listed
from segbatch.spec.section import Expected, KeyPath, Section

_BOUNDS = (Ge, Gt, Le, Lt)


def annotation_of(field: FieldInfo) -> Any:
    """A field's type with its limits and other marks."""
    return Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation


@cache
def keys_of(section: type[Section]) -> dict[str, Any]:
    """Keys of a section with their types, in the order of the declaration."""
    return {name: annotation_of(field) for name, field in section.model_fields.items()}


def description(section: type[Section], key: str) -> str:
    """A key's docstring as one line."""
    return " ".join((section.model_fields[key].description or "").split())


def split_marks(annotation: Any) -> tuple[Any, list[Any]]:
    """The bare type and its marks (limits, words), outermost last."""
    marks: list[Any] = []
    while get_origin(annotation) is Annotated:
        annotation, *found = get_args(annotation)
        for mark in found:
            marks += mark.metadata if isinstance(mark, FieldInfo) else [mark]
    return annotation, marks


def choices(annotation: Any) -> list[Any]:
    """The alternatives of a union without `None`; a list of one for any other type."""
    bare, _ = split_marks(annotation)
    if _is_union(bare):
        return [choice for arm in get_args(bare) if arm is not type(None) for choice in choices(arm)]
    return [annotation]


def is_optional(annotation: Any) -> bool:
    """Whether nothing (null) is a value of the type."""
    bare, _ = split_marks(annotation)
    return _is_union(bare) and any(arm is type(None) or is_optional(arm) for arm in get_args(bare))


def _is_union(bare: Any) -> bool:
    return get_origin(bare) in (Union, types.UnionType)


def section_in(annotation: Any) -> type[Section] | None:
    """The section among the alternatives of a type, if there is one."""
    for choice in choices(annotation):
        bare, _ = split_marks(choice)
        if isinstance(bare, type) and issubclass(bare, Section):
            return bare
    return None


def literals(annotation: Any) -> list[Any]:
    """The values that a type lists, if it lists any."""
    return [value for choice in choices(annotation) for value in _literals(split_marks(choice)[0])]


def allowed_keys(annotation: Any) -> list[str] | None:
    """Keys that a mapping of the type may have; None where any will do, or where the type is no mapping."""
    section = section_in(annotation)
    if section is not None:
        return list(keys_of(section))
    for choice in choices(annotation):
        bare, _ = split_marks(choice)
        if get_origin(bare) is dict:
            return [str(key) for key in literals(get_args(bare)[0])] or None
    return None


def is_container(annotation: Any) -> bool:
    """Whether a type takes mappings or lists."""
    bares = [split_marks(choice)[0] for choice in choices(annotation)]
    return section_in(annotation) is not None or any(get_origin(bare) in (dict, tuple) for bare in bares)


def _literals(bare: Any) -> tuple[Any, ...]:
    return get_args(bare) if get_origin(bare) is Literal else ()


def inside(annotation: Any, step: str | int) -> Any:
    """Type of an entry: of a section's key, a mapping's value, a list's item. None where there is no such entry."""
    for choice in choices(annotation):
        bare, _ = split_marks(choice)
        if isinstance(bare, type) and issubclass(bare, Section):
            if step in keys_of(bare):
                return keys_of(bare)[str(step)]
        elif get_origin(bare) is dict and isinstance(step, str):
            known = literals(get_args(bare)[0])
            if not known or step in known:
                return get_args(bare)[1]
        elif get_origin(bare) is tuple and isinstance(step, int):
            items = get_args(bare)
            if items[-1] is Ellipsis:
                return items[0]
            if step < len(items):
                return items[step]
    return None


def type_at(annotation: Any, path: KeyPath) -> Any:
    """Type of the value at a path below a type; None where the declarations know no such place."""
    for step in path:
        annotation = inside(annotation, step)
    return annotation


def admits_only_numbers(annotation: Any) -> bool:
    """Whether a type takes numbers and neither truth values nor text."""
    return all(split_marks(choice)[0] in (int, float) for choice in choices(annotation))


def words(annotation: Any) -> str:
    """A type in words that complete "expected ...": a whole number of at least 1."""
    bare, marks = split_marks(annotation)
    said = [mark.words for mark in marks if isinstance(mark, Expected)]
    if said:
        return str(said[-1])
    if _is_union(bare):
        return listed((words(arm) for arm in get_args(bare) if arm is not type(None)), "or")
    return _plain_words(bare, marks)


def _plain_words(bare: Any, marks: list[Any]) -> str:
    origin, items = get_origin(bare), get_args(bare)
    if origin is Literal:
        return listed((repr(value) for value in items), "or")
    if origin is tuple:
        if items[-1] is Ellipsis:
            least = "one or more " if any(getattr(mark, "min_length", 0) for mark in marks) else ""
            return f"a list of {least}{'mappings' if section_in(items[0]) else words(items[0])}"
        return f"a list of {len(items)}, each {words(items[0])}"
    if origin is dict:
        known = literals(items[0])
        keys = listed((repr(key) for key in known), "or") if known else "names"
        return f"a mapping of {keys} to {words(items[1])}"
    if isinstance(bare, type) and issubclass(bare, Section):
        return "a mapping"
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    if bare is str and any(isinstance(mark, MinLen | Len) and mark.min_length for mark in marks):
        return "text that is not empty"
    return names.get(bare, "a value") + _limits(marks)


def _limits(marks: Iterable[Any]) -> str:
    low = high = ""
    for mark in marks:
        if isinstance(mark, Ge):
            low = f"at least {mark.ge:g}" if isinstance(mark.ge, float) else f"at least {mark.ge}"
        elif isinstance(mark, Gt):
            low = f"above {mark.gt}"
        elif isinstance(mark, Le):
            high = f"at most {mark.le}"
        elif isinstance(mark, Lt):
            high = f"below {mark.lt}"
    if low.startswith("at least") and high.startswith("at most"):
        return f" from {low.removeprefix('at least ')} to {high.removeprefix('at most ')}"
    text = listed(filter(None, (low, high)))
    return f" of {text}" if text.startswith("at") else f" {text}" if text else ""


def stand_in(annotation: Any) -> Any:
    """Some value of the type, to put where a wrong one stood so that the rest can be looked at."""
    options = choices(annotation)
    bare, marks = split_marks(options[0])
    origin, items = get_origin(bare), get_args(bare)
    if is_optional(annotation):
        return None
    if origin is Literal:
        return items[0]
    if origin is tuple:
        minimum = max([mark.min_length for mark in marks if isinstance(mark, MinLen | Len)], default=0)
        return [stand_in(item) for item in (items[:1] * minimum if items[-1] is Ellipsis else items)]
    if origin is dict:
        return {}
    if isinstance(bare, type) and issubclass(bare, Section):
        fields = bare.model_fields.items()
        return {name: stand_in(annotation_of(field)) for name, field in fields if field.is_required()}
    if bare in (int, float):
        limits = [getattr(mark, kind, None) for mark in marks for kind in ("ge", "le")]
        above: list[Any] = [float(str(mark.gt)) + 1e-3 for mark in marks if isinstance(mark, Gt)]
        return next((limit for limit in [*above, *limits] if limit is not None), 0)
    return {bool: False, str: "x"}.get(bare)

"""A document against its declarations: every problem at its place, in words, in one go."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from segbatch.spec import declared
from segbatch.spec.document import Document, child
from segbatch.spec.problems import Problem, did_you_mean, listed, nearest
from segbatch.spec.section import COLLECT, Conflict, KeyPath, Section, dotted

_ROUNDS = 20
S = TypeVar("S", bound=Section)


@dataclass
class Checked(Generic[S]):
    """What validation found."""

    value: S | None
    """The object; holds stand-ins where there are problems. None where not even that was possible."""
    problems: list[Problem]
    doubtful: set[KeyPath]
    """Where values are missing or wrong: nothing more is concluded from them."""


@dataclass
class Validator(Generic[S]):
    """Validates one document.

    Wrong entries are reported and then replaced by something harmless, so that the rest is still looked at.
    """

    section: type[S]
    """What the document has to be."""
    document: Document
    """Changed in place: misspelt keys get their right names, wrong values go."""
    doubtful: set[KeyPath] = field(default_factory=set)
    """Places whose value is known to be wrong already, such as an unset environment variable."""
    relatives: Mapping[str, type[Section]] = field(default_factory=dict)
    """Other things a document might be, by what makes it one (`kind: train`), to explain keys that belong to them."""
    itself: str = ""
    """What this document is, in the words of `relatives`."""
    extra_keys: tuple[str, ...] = ()
    """Further keys of the top level, dealt with before."""
    judged_later: KeyPath = ()
    """Path below which sections are only parts of others, so that their conflicts mean nothing yet."""
    incomplete: bool = False
    """A part of the document could not be read: say nothing of missing keys."""
    problems: list[Problem] = field(default_factory=list)

    def run(self) -> Checked[S]:
        """Validate; the document's own problems are not repeated."""
        for path in sorted(self.doubtful, key=len, reverse=True):
            self._mend(path)
        self._inspect(self.section, ())
        value = None
        for turn in range(_ROUNDS):
            try:
                value = self.section.model_validate(self.document.value, context={COLLECT: True})
                break
            except ValidationError as error:
                self._translate(error, report=turn == 0)
        if value is not None and not self.incomplete:
            found = conflicts_in(value)
            self.report(
                item
                for item in found
                if not self.judged_later or item[0][: len(self.judged_later)] != self.judged_later
            )
        return Checked(value, self.problems, self.doubtful)

    def report(self, conflicts: Iterable[tuple[KeyPath, Conflict]]) -> None:
        """Add the conflicts that do not rest on doubtful values; each comes with its section's path."""
        for base, conflict in conflicts:
            if not any(self._is_doubtful(base + path) for path in (conflict.at, *conflict.needs)):
                place = self.document.place(base + conflict.at)
                self.problems.append(Problem(place.start, conflict.message))

    def _is_doubtful(self, path: KeyPath) -> bool:
        return any(path[: len(bad)] == bad or bad[: len(path)] == path for bad in self.doubtful)

    # Before pydantic: what it would accept, and what it would not explain.

    def _inspect(self, annotation: Any, path: KeyPath) -> None:
        value = self.document.at(path)
        allowed = declared.allowed_keys(annotation)
        if isinstance(value, dict):
            if allowed is not None:
                for key in [key for key in value if key not in allowed]:
                    self._unknown(allowed, path, key)
            for key in list(value):
                inner = declared.inside(annotation, key)
                if inner is not None and not self._emptied(annotation, inner, (*path, key)):
                    self._inspect(inner, (*path, key))
        elif isinstance(value, list):
            for position in range(len(value)):
                inner = declared.inside(annotation, position)
                if inner is not None:
                    self._inspect(inner, (*path, position))
        elif isinstance(value, bool) and declared.admits_only_numbers(annotation):
            self._wrong(annotation, path, value)

    def _emptied(self, outer: Any, annotation: Any, path: KeyPath) -> bool:
        """Take a section whose keys are all commented out (null) for an empty one; return whether it was."""
        if self.document.at(path) is not None or declared.is_optional(annotation):
            return False
        if not declared.is_container(annotation):
            return False
        section = declared.section_in(outer)
        if section is not None and not section.model_fields[str(path[-1])].is_required():
            self.document.drop(path)
        else:
            self.document.put(path, {} if declared.allowed_keys(annotation) else [])
        return True

    def _unknown(self, allowed: list[str], path: KeyPath, key: str) -> None:
        here = (*path, key)
        message, target, hint = self._explain(allowed, path, key)
        self.problems.append(Problem(self.document.place(here).start, message, hint))
        if target is not None and target not in self.document.at(path):
            self.document.rename(here, target)
        else:
            self.document.drop(here)

    def _explain(self, allowed: list[str], path: KeyPath, key: str) -> tuple[str, str | None, str]:
        """Message, the key that was probably meant, and hint for a key that does not belong here."""
        owners = [name for name, kind in self.relatives.items() if declared.type_at(kind, (*path, key)) is not None]
        if owners and self.itself:
            message = f"'{dotted((*path, key))}' belongs to {listed(owners)}; this job is {self.itself}"
            return message, None, ""
        under = f" under '{dotted(path)}'" if path else ""
        extra = self.extra_keys if not path else ()
        hint = f"Allowed here: {', '.join([*allowed, *extra])}."
        match = nearest(key, [*allowed, *extra], 0.75)
        homes = [dotted(home) for home in _homes(self.section, key)] if match is None else []
        if homes and len(homes) <= 3:
            return f"unknown key {key!r}{under}; it belongs under {listed(map(repr, homes), 'or')}", None, hint
        match = match or nearest(key, [*allowed, *extra])
        meant = f". Did you mean {match!r}?" if match else ""
        return f"unknown key {key!r}{under}{meant}", match if match in allowed else None, hint

    # After pydantic: its errors in our words, one for each place.

    def _translate(self, error: ValidationError, *, report: bool) -> None:
        found: dict[KeyPath, list[Any]] = {}
        for item in error.errors(include_url=False):
            path, missing = self._path(item["loc"], item["type"])
            found.setdefault(path, []).append(item | {"missing": missing})
        for path, items in found.items():
            if _of_another_arm(path, items, found):
                continue
            if self._consequence(path, items[0]):
                self._mend(path)
                continue
            if report and items[0]["missing"]:
                self._missing(path)
            elif report:
                self._say(path, items)
            self.doubtful.add(path)
            self._mend(path)

    def _path(self, location: tuple[str | int, ...], kind: str) -> tuple[KeyPath, bool]:
        """Path in the document for pydantic's location, which also names union members; whether a key is missing."""
        path: KeyPath = ()
        value = self.document.value
        for step in location:
            if isinstance(value, dict) and (step in value or (kind == "missing" and step == location[-1])):
                if step not in value:
                    return (*path, step), True
            elif not (isinstance(value, list) and isinstance(step, int) and 0 <= step < len(value)):
                continue
            path, value = (*path, step), child(value, step)
        return path, False

    def _consequence(self, path: KeyPath, item: Any) -> bool:
        """Whether an error only follows from another one: a list counted as empty since its items are wrong."""
        value = self.document.at(path)
        return bool(item["type"] == "too_short" and len(value or ()) >= item["ctx"]["min_length"])

    def _missing(self, path: KeyPath) -> None:
        if self.incomplete:
            return
        *above, key = path
        owner = declared.section_in(declared.type_at(self.section, tuple(above)))
        said = f". {declared.description(owner, str(key))}" if owner else ""
        under = f" under '{dotted(tuple(above))}'" if above else ""
        place = self.document.place(tuple(above)).start
        self.problems.append(Problem(place, f"missing key {key!r}{under}{said}"))

    def _say(self, path: KeyPath, items: list[Any]) -> None:
        said = [str(item["ctx"]["error"]) for item in items if item["type"] in ("value_error", "assertion_error")]
        annotation = declared.type_at(self.section, path)
        if said and ("received" in said[0] or annotation is None):
            self.problems.append(Problem(self.document.place(path).value, said[0]))
        else:
            self._wrong(annotation, path, self.document.at(path))

    def _wrong(self, annotation: Any, path: KeyPath, value: Any) -> None:
        message = f"expected {declared.words(annotation)}, received {received(value)}"
        if declared.words(annotation).startswith(("text", "a path")) and isinstance(value, int | float):
            message += f"; put it in quotes: '{received(value)}'"
        options = [str(option) for option in declared.literals(annotation)]
        hint = ""
        keys = declared.allowed_keys(annotation)
        if keys and not isinstance(value, dict):
            hint = f"Allowed keys: {', '.join(keys)}."
        message += f".{did_you_mean(value, options)}" if did_you_mean(value, options) else ""
        self.problems.append(Problem(self.document.place(path).value, message, hint))
        self.doubtful.add(path)
        self._mend(path)

    def _mend(self, path: KeyPath) -> None:
        """Put something harmless where the value is wrong or missing."""
        if not path:
            return
        above = self.document.at(path[:-1])
        owner = declared.section_in(declared.type_at(self.section, path[:-1]))
        annotation = declared.type_at(self.section, path)
        if isinstance(above, list) and annotation is not None:
            above[int(path[-1])] = declared.stand_in(annotation)
        elif isinstance(above, dict):
            if owner and path[-1] in owner.model_fields and owner.model_fields[str(path[-1])].is_required():
                above[path[-1]] = declared.stand_in(annotation)
            else:
                above.pop(path[-1], None)


def _of_another_arm(path: KeyPath, items: list[Any], found: Iterable[KeyPath]) -> bool:
    """Whether a list is only not the text that it might have been too: what is wrong in the list says more."""
    deeper = any(len(other) > len(path) and other[: len(path)] == path for other in found)
    return deeper and all(item["type"] == "string_type" and isinstance(item["input"], list) for item in items)


def conflicts_in(section: Section, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Conflict]]:
    """Yield the conflicts of a section and of all sections in it, with the path of the section that found them."""
    for conflict in section.conflicts():
        yield path, conflict
    for name in type(section).model_fields:
        yield from _conflicts_below(getattr(section, name), (*path, name))


def _conflicts_below(value: object, path: KeyPath) -> Iterator[tuple[KeyPath, Conflict]]:
    if isinstance(value, Section):
        yield from conflicts_in(value, path)
    elif isinstance(value, tuple):
        for position, item in enumerate(value):
            yield from _conflicts_below(item, (*path, position))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _conflicts_below(item, (*path, key))


def _homes(section: type[Section], key: str, path: KeyPath = ()) -> Iterator[KeyPath]:
    """Yield the sections below that have this key."""
    for name, annotation in declared.keys_of(section).items():
        inner = declared.section_in(annotation)
        if inner is not None:
            if key in declared.keys_of(inner):
                yield (*path, name)
            yield from _homes(inner, key, (*path, name))


def received(value: object) -> str:
    """A value as messages show it."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        items = [received(item) if item is not None else "null" for item in value]
        text = f"[{', '.join(items)}]"
        return text if len(text) <= 40 else "a list"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:76]}...{text[-1]}"

"""The classes of a segmentation: ids, names, colours, and which raw mask values mean what."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from segbatch.spec.section import Conflict, Expected, KeyPath, Section

IGNORED = 255
"""Class index of pixels that neither train nor score."""
UNCLAIMED = 254
"""Look-up result of a raw value that no class claims."""
MAX_CLASSES = 254

_RANGE = re.compile(r"^\s*(\d{1,9})\s*(?:-\s*(\d{1,9})\s*)?$")


def _value_list(value: object) -> object:
    """Turn `3`, `"0-127"` or a list of them into a list of integers."""
    items = value if isinstance(value, list | tuple) else [value]
    out: list[int] = []
    for item in items:
        if isinstance(item, int) and not isinstance(item, bool):
            first = last = item
        elif isinstance(item, str) and (match := _RANGE.match(item)):
            first, last = int(match[1]), int(match[2] or match[1])
        else:
            raise ValueError(f"expected whole numbers and ranges such as 0-127, received {item!r}")
        if not 0 <= first <= last <= 255:
            raise ValueError(f"expected values from 0 to 255, ranges upwards, received {item!r}")
        out.extend(range(first, last + 1))
    return tuple(out)


_Hex = Annotated[str, Field(pattern="^#[0-9a-fA-F]{6}$")]


def _color(value: object) -> object:
    if isinstance(value, str) and re.fullmatch(r"#[0-9a-fA-F]{6}", value):
        return tuple(int(value[i : i + 2], 16) for i in (1, 3, 5))
    return value


def _runs(values: list[int]) -> str:
    """Write ascending numbers with ranges: 1, 4-6."""
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][1] + 1:
            runs[-1][1] = value
        else:
            runs.append([value, value])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


Byte = Annotated[int, Field(ge=0, le=255)]
RawValues = Annotated[
    tuple[Byte, ...],
    BeforeValidator(_value_list, json_schema_input_type=int | str | list[int | str]),
    Expected('raw values from 0 to 255: a number, a range such as "0-127", or a list of them'),
]
Color = Annotated[
    tuple[Byte, Byte, Byte],
    BeforeValidator(_color, json_schema_input_type=tuple[Byte, Byte, Byte] | _Hex),
    Expected('[r, g, b] of 0-255, or "#rrggbb"'),
]


class LabelClass(Section):
    """One class of the labels."""

    id: Annotated[int, Field(ge=-1, le=255)]
    """Number written in predicted masks and reports; -1 for a class that is never written (it must be ignored)."""
    name: Annotated[str, Field(min_length=1)]
    """Name shown in reports and used as column heading."""
    color: Color
    """Colour in palettes and pictures: [r, g, b] of 0-255, or "#rrggbb"."""
    category: str = ""
    """Group of classes that this one belongs to; free text."""
    ignore: bool = False
    """Leave pixels of this class out of training and scores."""
    values: RawValues | None = None
    """Raw mask values that mean this class: a number, a range such as "0-127", or a list. Defaults to the id."""

    @property
    def raw_values(self) -> tuple[int, ...]:
        """Raw mask values, 0-255, that mean this class."""
        if self.values is not None:
            return self.values
        return (self.id,) if self.id >= 0 else ()


class Labels(Section):
    """All classes of one data set.

    The network's channels are the classes that are not ignored, in file order; the position of a class among them
    is its *index*. `id` is what masks and reports show, `values` is what ground truth files hold.
    """

    name: Annotated[str, Field(min_length=1)]
    """Name of the label set."""
    classes: Annotated[tuple[LabelClass, ...], Field(min_length=1, max_length=256)]
    """The classes, in the order of the network's channels."""
    unclaimed: Literal["reject", "ignore"] = "reject"
    """What a raw mask value that no class claims does: `reject` refuses the tile by name, `ignore` leaves the pixels
    out of training and scores."""

    def conflicts(self) -> Iterator[Conflict]:
        """Ids, names and raw values given twice, classes that cannot be written or found, too few or too many."""
        yield from self._given_twice()
        yield from self._claimed_twice()
        for position, item in enumerate(self.classes):
            here: KeyPath = ("classes", position)
            if not item.raw_values and not item.ignore and item.id >= 0:
                message = f"class {item.name!r} has no raw values: give `values:` at least one"
                yield Conflict((*here, "values"), message, ((*here, "ignore"),))
            if item.id < 0 and not item.ignore:
                message = f"class {item.name!r} has id {item.id}, which no mask can hold: set `ignore: true`"
                yield Conflict((*here, "id"), message, ((*here, "ignore"),))
        count = len(self.scored)
        if not 2 <= count <= MAX_CLASSES:
            message = f"expected 2 to {MAX_CLASSES} classes that are not ignored, received {count}"
            yield Conflict(("classes",), message)

    def _given_twice(self) -> Iterator[Conflict]:
        for what in ("id", "name"):
            seen: dict[object, int] = {}
            for position, item in enumerate(self.classes):
                value = getattr(item, what)
                first = seen.setdefault(value, position)
                if first != position:
                    message = f"class {what} {value!r} is given twice, to classes {first + 1} and {position + 1}"
                    yield Conflict(("classes", position, what), message, (("classes", first, what),))

    def _claimed_twice(self) -> Iterator[Conflict]:
        owner: dict[int, int] = {}
        for position, item in enumerate(self.classes):
            disputed: dict[int, list[int]] = {}
            for raw in dict.fromkeys(item.raw_values):
                first = owner.setdefault(raw, position)
                if first != position:
                    disputed.setdefault(first, []).append(raw)
            for first, raws in disputed.items():
                other = self.classes[first]
                if item.id == other.id and item.values is None and other.values is None:
                    continue
                key = "values" if item.values is not None else "id"
                rests_on: list[KeyPath] = [
                    ("classes", at, name) for at in (first, position) for name in ("id", "values")
                ]
                message = f"raw value {_runs(raws)} is claimed by both {other.name!r} and {item.name!r}"
                yield Conflict(("classes", position, key), message, tuple(rests_on))

    @cached_property
    def scored(self) -> tuple[LabelClass, ...]:
        """Classes that train and score, in the order of the network's channels."""
        return tuple(item for item in self.classes if not item.ignore)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the scored classes, by index."""
        return tuple(item.name for item in self.scored)

    def raw_to_index(self) -> bytes:
        """Table of 256 bytes: raw mask value -> class index, IGNORED (255) or UNCLAIMED (254)."""
        fallback = UNCLAIMED if self.unclaimed == "reject" else IGNORED
        return self._table(fallback, lambda item: item.raw_values)

    def id_to_index(self) -> bytes:
        """Table of 256 bytes: id as written in our masks -> class index, IGNORED or UNCLAIMED."""
        return self._table(UNCLAIMED, lambda item: (item.id,) if item.id >= 0 else ())

    def _table(self, fallback: int, values: Callable[[LabelClass], tuple[int, ...]]) -> bytes:
        table = bytearray([fallback]) * 256
        index = {item.name: position for position, item in enumerate(self.scored)}
        for item in self.classes:
            for value in values(item):
                table[value] = index.get(item.name, IGNORED)
        return bytes(table)

    def index_to_written(self, what: Literal["ids", "raw"]) -> bytes:
        """Value to write for each class index: its id, or the first raw value that means it. One byte an index."""
        return bytes(item.id if what == "ids" else item.raw_values[0] for item in self.scored)

    def palette(self, what: Literal["ids", "raw"] = "ids") -> bytes:
        """RGB palette of 768 bytes for masks whose pixels are ids (or raw values)."""
        table = bytearray(768)
        for value, color in self._colored(what):
            table[3 * value : 3 * value + 3] = bytes(color)
        return bytes(table)

    def _colored(self, what: Literal["ids", "raw"]) -> Iterator[tuple[int, tuple[int, int, int]]]:
        for item in self.classes:
            for value in item.raw_values if what == "raw" else (item.id,):
                if value >= 0:
                    yield value, item.color

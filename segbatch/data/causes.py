"""Why masks hold other values than the labels expect: the usual causes, and what to do about each."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass

from segbatch.spec.labels import IGNORED, UNCLAIMED, LabelClass, Labels

Color = tuple[int, int, int]

# Cityscapes: label ids 0-33 are what its *_labelIds.png hold, train ids 0-18 are the 19 classes that are scored.
_LABEL_IDS = frozenset(range(34))
_TRAIN_IDS = frozenset(range(19))

_RINGING = 48
"""JPEG moves values of two-valued masks by less than this."""
_RINGING_FROM = 4
"""Different values from which on a mask is no longer taken for a clean one."""


@dataclass(frozen=True)
class Values:
    """What all masks that were looked at hold."""

    pixels: Mapping[int, int]
    """Raw value -> number of pixels."""
    table: bytes
    """Raw value -> class index, IGNORED or UNCLAIMED."""
    jpeg: bool = False
    """Some of the masks are JPEG files."""
    palette: Mapping[int, Color] | None = None
    """Colours that palette masks show for their values; None without such masks."""

    @property
    def found(self) -> Set[int]:
        """The values."""
        return self.pixels.keys()

    @property
    def unclaimed(self) -> list[int]:
        """Values that no class claims, most frequent first."""
        return sorted((v for v in self.found if self.table[v] == UNCLAIMED), key=lambda v: (-self.pixels[v], v))

    @property
    def scored(self) -> frozenset[int]:
        """Values that the labels give to a scored class, found or not."""
        return frozenset(v for v in range(256) if self.table[v] not in (IGNORED, UNCLAIMED))


@dataclass(frozen=True)
class Cause:
    """A known reason, and its remedy."""

    reason: str
    """Ends a sentence about the values: "they look like ..."."""
    fix: str
    """A sentence."""


def cause_of(values: Values, labels: Labels) -> Cause | None:
    """Recognise why values do not fit the labels; None if they fit, or for no known reason.

    Values that fit may still be wrong: train ids are label ids, too, and 255 may be ignored. So this is asked even
    when every value is claimed.
    """
    for rule in (_zero_and_full, _zero_and_one, _train_ids, _label_ids):
        if (cause := rule(values, labels)) is not None:
            return cause
    if not values.unclaimed:
        return None
    return _ringing(values, labels) or _palette(values, labels)


def _class_of(values: Values, labels: Labels, value: int) -> LabelClass:
    return labels.scored[values.table[value]]


def _zero_and_full(values: Values, labels: Labels) -> Cause | None:
    if not (values.found <= {0, 255} and 255 in values.found and values.scored == {0, 1}):
        return None
    name = _class_of(values, labels, 1).name
    ignored = ", and ignore 255" if values.table[255] == IGNORED else ""
    return Cause(
        f"the masks hold 0 and 255 where the labels expect 0 and 1{ignored}",
        f"Give the class {name!r} `values: 255` in the labels.",
    )


def _zero_and_one(values: Values, labels: Labels) -> Cause | None:
    if not (values.found <= {0, 1} and 1 in values.found and values.scored == {0, 255}):
        return None
    name = _class_of(values, labels, 255).name
    return Cause(
        "the masks hold 0 and 1 where the labels expect 0 and 255",
        f"Give the class {name!r} `values: 1` in the labels.",
    )


def _train_ids(values: Values, labels: Labels) -> Cause | None:
    known = values.found - {255}
    expects = all(values.table[v] != UNCLAIMED for v in _LABEL_IDS) and values.scored > {v for v in (21, 23, 26)}
    if not (expects and known <= _TRAIN_IDS and len(known) >= 3):
        return None
    return Cause(
        "they look like Cityscapes train ids (0-18, 255), and the labels expect label ids (0-33)",
        "Use the files *_gtFine_labelIds.png (`data.pair.mask_suffix`), or a labels file with `values: 0` for road, "
        "`values: 1` for sidewalk, and so on to 18, and 255 ignored.",
    )


def _label_ids(values: Values, labels: Labels) -> Cause | None:
    known = values.found - {255}
    expects = values.scored <= _TRAIN_IDS and len(labels.scored) == len(_TRAIN_IDS)
    if not (expects and known <= _LABEL_IDS and known - _TRAIN_IDS):
        return None
    return Cause(
        "they look like Cityscapes label ids (0-33), and the labels expect train ids (0-18)",
        "Use the built-in `labels: cityscapes-19`, which reads label ids and scores the 19 classes.",
    )


def _ringing(values: Values, labels: Labels) -> Cause | None:
    inner = [v for v in values.found if _RINGING <= v <= 255 - _RINGING]
    stray = sum(values.pixels[v] for v in inner)
    ends = {v < 128 for v in values.found}
    if len(values.found) < _RINGING_FROM or len(ends) < 2 or stray > 0.02 * sum(values.pixels.values()):
        return None
    low, high = (repr(item.name) for item in labels.scored[:2])
    return Cause(
        "they lie around 0 and 255, as JPEG leaves them" + ("" if values.jpeg else " (even when saved as PNG later)"),
        f"Give the class {low} `values: 0-127` and the class {high} `values: 128-255` in the labels, as the built-in "
        "`labels: forest` does.",
    )


def _palette(values: Values, labels: Labels) -> Cause | None:
    if values.palette is None:
        return None
    by_color = {item.color: item.name for item in labels.classes}
    matches = [
        f"`values: {value}` for {by_color[values.palette[value]]!r}"
        for value in sorted(values.unclaimed)
        if values.palette.get(value) in by_color
    ]
    advice = "in the labels (their colours match): " + ", ".join(matches) if matches else "with `values:` in the labels"
    return Cause(
        "they are the numbers in palette masks, which viewers show as colours",
        f"Say which class each number means, {advice}.",
    )

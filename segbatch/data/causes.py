"""Why masks hold other values than the labels expect: the usual causes, and what to do about each."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass

from segbatch.data.looks import Color
from segbatch.spec.labels import IGNORED, UNCLAIMED, Labels

# Cityscapes: label ids 0-33 are what its *_labelIds.png hold, train ids 0-18 are the 19 classes that are scored.
_LABEL_IDS = frozenset(range(34))
_TRAIN_IDS = frozenset(range(19))
_USUAL = frozenset({21, 23, 26})  # label ids of vegetation, sky and car

_INNER = range(48, 208)
"""JPEG leaves next to no pixels of a two-valued mask here."""
_STRAY = 0.02
"""Share of pixels up to which that is next to none."""
_CLEAN = 3
"""Values up to which a mask is a clean one."""


@dataclass(frozen=True)
class Values:
    """What all masks that were looked at hold."""

    pixels: Mapping[int, int]
    """Value on disk -> number of pixels."""
    table: bytes
    """Value on disk -> class index, IGNORED or UNCLAIMED."""
    kinds: Set[str] = frozenset()
    """Kinds of their files, such as JPEG."""
    palette: Mapping[int, Color] | None = None
    """Colours that palette masks show for their values; None without such masks."""

    @property
    def found(self) -> Set[int]:
        """The values."""
        return self.pixels.keys()

    @property
    def unclaimed(self) -> list[int]:
        """Values found that no class claims."""
        return sorted(value for value in self.found if self.table[value] == UNCLAIMED)

    @property
    def scored(self) -> Set[int]:
        """Values that the labels give to a scored class, found or not."""
        return {value for value in range(256) if self.table[value] not in (IGNORED, UNCLAIMED)}


@dataclass(frozen=True)
class Cause:
    """A known reason, and its remedy."""

    kind: str
    """Short name."""
    reason: str
    """What the values look like; a clause."""
    fix: str
    """A sentence."""


def cause_of(values: Values, labels: Labels) -> Cause | None:
    """Recognise why values do not fit the labels; None if they fit, or for no known reason.

    Values that are all claimed may still be meant otherwise: 255 may be ignored where it is the second class, and
    train ids are label ids, too. So it is right to ask even then.
    """
    for rule in (_zero_and_full, _zero_and_one, _train_ids, _label_ids):
        if (cause := rule(values, labels)) is not None:
            return cause
    if not values.unclaimed:
        return None
    return _ringing(values, labels) or _palette(values, labels)


def _zero_and_full(values: Values, labels: Labels) -> Cause | None:
    if not (values.found <= {0, 255} and 255 in values.found and values.scored == {0, 1}):
        return None
    name = labels.scored[values.table[1]].name
    ignored = " and ignore 255" if values.table[255] == IGNORED else ""
    reason = f"they hold 0 and 255 where the labels want 0 and 1{ignored}"
    return Cause("0/255 masks", reason, f"Give the class {name!r} `values: 255` in the labels.")


def _zero_and_one(values: Values, labels: Labels) -> Cause | None:
    if not (values.found <= {0, 1} and 1 in values.found and {0, 255} <= values.scored and 1 in values.unclaimed):
        return None
    name = labels.scored[values.table[255]].name
    reason = "they hold 0 and 1 where the labels want 0 and 255"
    return Cause("0/1 masks", reason, f"Give the class {name!r} `values: 1` in the labels.")


def _train_ids(values: Values, labels: Labels) -> Cause | None:
    wants_label_ids = all(values.table[value] != UNCLAIMED for value in _LABEL_IDS) and values.scored >= _USUAL
    known = values.found - {255}
    if not (wants_label_ids and known <= _TRAIN_IDS and len(known) > _CLEAN):
        return None
    return Cause(
        "train ids",
        "they look like Cityscapes train ids (0-18, 255) where the labels want label ids (0-33)",
        "Use the masks *_labelIds.png (`data.pair.mask_suffix`), or a labels file with `values: 0` for road, "
        "`values: 1` for sidewalk and so on to 18, and 255 ignored.",
    )


def _label_ids(values: Values, labels: Labels) -> Cause | None:
    wants_train_ids = values.scored == _TRAIN_IDS
    known = values.found - {255}
    if not (wants_train_ids and known <= _LABEL_IDS and known - _TRAIN_IDS):
        return None
    return Cause(
        "label ids",
        "they look like Cityscapes label ids (0-33) where the labels want train ids (0-18)",
        "Use the built-in `labels: cityscapes-19`, which reads label ids and scores the 19 classes.",
    )


def _ringing(values: Values, labels: Labels) -> Cause | None:
    stray = sum(count for value, count in values.pixels.items() if value in _INNER)
    both_ends = min(values.found) < _INNER.start and max(values.found) >= _INNER.stop
    if len(values.found) <= _CLEAN or not both_ends or stray > _STRAY * sum(values.pixels.values()):
        return None
    low, high = (repr(item.name) for item in labels.scored[:2])
    saved = "" if "JPEG" in values.kinds else ", even when saved as another kind afterwards"
    return Cause(
        "JPEG ringing",
        f"they ring around 0 and 255, as JPEG makes them{saved}",
        f"Claim ranges, as the built-in `labels: forest` does: `values: 0-127` for {low} and `values: 128-255` for "
        f"{high}.",
    )


def _palette(values: Values, labels: Labels) -> Cause | None:
    if values.palette is None:
        return None
    names = {item.color: item.name for item in labels.classes}
    colors = {value: values.palette.get(value) for value in values.unclaimed}
    matches = [f"`values: {value}` for {names[color]!r}" for value, color in colors.items() if color in names]
    by_color = f"; by their colours, {', '.join(matches)}" if matches else ""
    return Cause(
        "palette masks",
        "these are the numbers in palette masks, of which viewers show the colours only",
        f"Say with `values:` in the labels which class each number means{by_color}.",
    )

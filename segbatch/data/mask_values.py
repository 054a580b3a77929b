"""Mask values that no class claims, and what is probably behind them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from segbatch.spec.labels import UNCLAIMED, Labels

_NEAR = 40
"""JPEG moves the values 0 and 255 by at most about this much near an edge."""
_TRAIN_IDS = frozenset({*range(19), 255})
_LABEL_IDS = frozenset(range(34))


@dataclass(frozen=True)
class Suspicion:
    """What is probably wrong with a set of masks."""

    kind: str
    fix: str


def suspect(labels: Labels, counts: Mapping[int, int], kinds: frozenset[str]) -> Suspicion | None:
    """Say why masks hold values that no class claims.

    Args:
        labels: the job's classes.
        counts: number of pixels of each raw value over all masks read.
        kinds: file kinds among the masks, such as JPEG or PNG.

    Returns:
        The likely cause and the fix; None if every value is claimed.
    """
    table = labels.raw_to_index()
    values = {value for value, pixels in counts.items() if pixels}
    foreign = {value for value in values if table[value] == UNCLAIMED}
    if not foreign:
        return None
    claimed = {value for item in labels.classes for value in item.raw_values}
    if values <= {0, 255} and claimed <= {0, 1}:
        second = labels.scored[-1].name
        return Suspicion("0/255 masks", f"the masks hold 0 and 255: give class {second!r} `values: 255` in the labels")
    if values <= {0, 1} and 255 in claimed:
        return Suspicion("0/1 masks", "the masks hold 0 and 1 where the labels want 0 and 255: set `values: 1`")
    if "JPEG" in kinds and all(value <= _NEAR or value >= 255 - _NEAR for value in foreign):
        return Suspicion(
            "JPEG ringing",
            "the masks are JPEG, whose values ring around 0 and 255: claim ranges, as the built-in labels `forest` do "
            "(`values: 0-127` and `values: 128-255`)",
        )
    if values <= _TRAIN_IDS and claimed >= {7, 8, 11, 33} and labels.name.startswith("cityscapes"):
        return Suspicion(
            "train ids", "the masks hold train ids (0-18 and 255), the labels want label ids: use *_labelIds.png"
        )
    if values <= _LABEL_IDS and claimed == set(range(19)):
        return Suspicion("label ids", "the masks hold label ids (0-33): use the built-in labels `cityscapes-19`")
    return Suspicion(
        "unclaimed values",
        "give each value to a class with `values:` in the labels, or set `unclaimed: ignore` to leave them out",
    )

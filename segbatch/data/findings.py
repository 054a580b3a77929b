"""What looking at a job's data has found, and the little that all who look share."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Severity = Literal["error", "warning"]
_NAMED = 5


@dataclass(frozen=True)
class Finding:
    """Something that is, or may be, wrong with the data."""

    severity: Severity
    """`error`: the job would fail, or leave files out that it needs. `warning`: it runs, perhaps not as meant."""
    kind: str
    """Short name of what is wrong, such as "unreadable images"."""
    message: str
    """What was found, in one sentence without a full stop."""
    count: int
    """Number of files concerned, of those looked at."""
    example: str
    """Path of one of them."""
    fix: str
    """What to do about it: a sentence."""


@dataclass
class Sightings:
    """Files in which one thing was seen: how many, the first of them, and what was said of each."""

    count: int = 0
    example: str = ""
    notes: Counter[str] = field(default_factory=Counter)

    def add(self, path: str, note: str = "") -> None:
        """Count one file."""
        self.count += 1
        self.example = self.example or path
        self.notes[note] += 1

    def shared(self) -> str:
        """Write the notes with their numbers of files: "empty file (2), truncated JPEG (1)"."""
        parts = [f"{note} ({count})" for note, count in self.notes.most_common(_NAMED)]
        more = f" and {len(self.notes) - _NAMED} more reasons" if len(self.notes) > _NAMED else ""
        return ", ".join(parts) + more


def shown(*parts: str) -> str:
    """Join path parts; bytes that are no UTF-8 show as a replacement mark, so that any terminal takes them."""
    return os.fsencode(os.path.join(*parts)).decode("utf-8", "replace")


def counted(number: int, what: str) -> str:
    """Write a number of things: "1 image", "2,345 images"; `what` takes an s."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def tallied(counts: Mapping[str, int], most: int = _NAMED) -> str:
    """Write what was found how often, most frequent first: "256 x 256 (190), 320 x 256 (10)"."""
    common = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    more = f" and {len(common) - most} more" if len(common) > most else ""
    return ", ".join(f"{what} ({count:,})" for what, count in common[:most]) + more

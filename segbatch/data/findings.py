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
    """An error would stop the job, leave files out or spoil the result; a warning may be meant so."""
    kind: str
    """Short name of what was found, such as "unreadable files"."""
    message: str
    """What was found: a sentence without a full stop, to which the number of files is added."""
    count: int
    """Number of files, of those looked at."""
    example: str
    """One of them, with what is wrong with it where that differs."""
    fix: str
    """What to do about it: a sentence."""


@dataclass
class Sightings:
    """Files in which one thing was seen: how many, the first of them, and what was said of each."""

    count: int = 0
    example: str = ""
    notes: Counter[str] = field(default_factory=Counter)

    def add(self, path: str, note: str = "") -> None:
        """Count one file; the first becomes the example."""
        self.count += 1
        self.example = self.example or (f"{path}: {note}" if note else path)
        self.notes[note] += 1

    def summary(self) -> str:
        """Write what was said, most frequent first: "empty file (2), no permission to read the file (1)"."""
        return tallied(self.notes)

    def finding(self, severity: Severity, kind: str, message: str, fix: str) -> Finding:
        """Return the finding that these files make."""
        return Finding(severity, kind, message, self.count, self.example, fix)


def shown(*parts: str) -> str:
    """Join path parts; bytes that are no UTF-8 show as a replacement mark, so that any terminal takes them."""
    return os.fsencode(os.path.join(*parts)).decode("utf-8", "replace")


def tallied(counts: Mapping[str, int], most: int = _NAMED) -> str:
    """Write what was found how often, most frequent first: "256 x 256 (190), 320 x 256 (10)"."""
    common = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    more = f" and {len(common) - most} more" if len(common) > most else ""
    return ", ".join(f"{what} ({count:,})" for what, count in common[:most]) + more

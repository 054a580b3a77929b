"""What was found out about a place, and what follows from it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warn", "bad"]
_RANK: tuple[State, ...] = ("ok", "warn", "bad")


@dataclass(frozen=True)
class Finding:
    """One row of the table."""

    area: str
    """What it is about at large, such as SLURM."""
    what: str
    """What it is about, such as accounting."""
    state: State
    """`ok`: all is well, or only worth knowing; `warn`: something will be missing; `bad`: jobs will fail."""
    words: str
    """What was found."""
    consequence: str
    """What segbatch does because of it; completes the sentence "so segbatch ..."."""


def worst(findings: Iterable[Finding]) -> State:
    """Return the worst of all states; `ok` for none."""
    return max((finding.state for finding in findings), key=_RANK.index, default="ok")

"""What was checked of a run, with numbers, and what was found amiss."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

NAMED = 10
"""Examples of a problem that are kept; all of them are counted."""


@dataclass
class Check:
    """One thing that was checked."""

    name: str
    """Short, such as `masks`."""
    claim: str
    """What holds if nothing is amiss."""
    checked: int = 0
    """How many things were looked at."""
    problems: int = 0
    """How many of them are not as they must be."""
    examples: list[str] = field(default_factory=list)
    """The first few of these."""
    skipped: str = ""
    """Why it could not be checked; empty if it was."""

    @property
    def state(self) -> Literal["ok", "failed", "not checked"]:
        """How it came out."""
        if self.problems:
            return "failed"
        return "not checked" if self.skipped else "ok"

    def amiss(self, example: str) -> None:
        """Count one problem."""
        self.problems += 1
        if len(self.examples) < NAMED:
            self.examples.append(example)

    def expect(self, what: str, expected: object, found: object) -> None:
        """Look at one thing that must have a value."""
        self.checked += 1
        if expected != found:
            self.amiss(f"{what}: expected {expected}, found {found}")

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "name": self.name,
            "claim": self.claim,
            "state": self.state,
            "checked": self.checked,
            "problems": self.problems,
            "examples": self.examples,
            "skipped": self.skipped,
        }


@dataclass(frozen=True)
class Proof:
    """All that was checked of a run."""

    run: str
    """The run's label."""
    folder: str
    """Its folder."""
    checks: tuple[Check, ...]
    notes: tuple[str, ...] = ()
    """What is no fault, but worth knowing."""
    seconds: float = 0.0
    """What it took."""

    @property
    def holds(self) -> bool:
        """Whether nothing is amiss."""
        return not any(check.problems for check in self.checks)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for `verify --json`."""
        return {
            "run": self.run,
            "folder": self.folder,
            "proven": self.holds,
            "checks": [check.as_dict() for check in self.checks],
            "notes": list(self.notes),
            "seconds": round(self.seconds, 3),
        }

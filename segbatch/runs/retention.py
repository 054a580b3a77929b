"""Which runs may go: a pure choice from what is known of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from segbatch.spec.keep import Keep

IDLE = "idle"
"""State of a run that found nothing to do; it leaves nothing that anybody may want."""
AT_WORK = ("running", "queued", "unknown")
JUST_MADE = timedelta(days=1)
"""A run that was never started and is younger may be about to be submitted."""


@dataclass(frozen=True)
class Candidate:
    """What the choice needs to know of a run."""

    folder: Path
    """Absolute, without links."""
    name: str
    """Of its job."""
    state: str
    created: datetime
    train: bool = False
    checkpoints: bool = False
    """Whether there are any."""
    uses: tuple[Path, ...] = ()
    """What it reads: a bundle, folders of images and masks; absolute, without links."""
    latest: bool = False
    """The job's link `latest` leads to it."""

    @property
    def label(self) -> str:
        """How commands name it."""
        return f"{self.name}/{self.folder.name}"


@dataclass(frozen=True)
class Choice:
    """What becomes of a run that `keep` is about."""

    candidate: Candidate
    what: Literal["run", "checkpoints", "nothing"]
    """What goes."""
    why: str
    """The rule by which it goes."""
    stays: str = ""
    """Why it stays although a rule would take it; empty where it goes."""


def choose(
    candidates: Sequence[Candidate], keep: Mapping[str, Keep], protected: Mapping[Path, str], now: datetime
) -> list[Choice]:
    """Choose what goes, oldest first.

    Args:
        candidates: all runs of the folder, also those of jobs without a rule: what they use stays.
        keep: job's name to its rule.
        protected: files and folders that must stay, with the reason; the runs that hold them stay.
        now: the clock.
    """
    ordered = sorted(candidates, key=lambda one: (one.created, one.folder.name))
    ruled = {one.folder: _rule(one, ordered, keep[one.name], now) for one in ordered if one.name in keep}
    held = {one.folder: _held(one, ordered, protected, now) for one in ordered}
    gone = {folder for folder, why in ruled.items() if why and not held[folder]}
    while users := _used(ordered, gone):
        gone -= users.keys()
        held |= users
    choices = []
    for one in ordered:
        why = ruled.get(one.folder, "")
        if one.folder in gone:
            choices.append(Choice(one, "run", why))
            continue
        if why:
            choices.append(Choice(one, "nothing", why, held[one.folder]))
        if spare := _spare_checkpoints(one, ordered, keep):
            choices.append(Choice(one, "checkpoints", spare))
    return choices


def _rule(one: Candidate, ordered: Sequence[Candidate], keep: Keep, now: datetime) -> str:
    """Say which rule takes a run; empty if none does."""
    if keep.days is not None and now - one.created > timedelta(days=keep.days):
        return f"older than {keep.days} day{'s' if keep.days > 1 else ''}"
    # Nights without anything new must not drive out what the last good ones made.
    counted = [other for other in ordered if other.name == one.name and (other.state != IDLE or one.state == IDLE)]
    newer = sum(ordered.index(other) > ordered.index(one) for other in counted)
    if keep.runs is not None and newer >= keep.runs:
        return f"{newer} newer runs" if newer > 1 else "a newer run"
    return ""


def _held(one: Candidate, ordered: Sequence[Candidate], protected: Mapping[Path, str], now: datetime) -> str:
    """Say what holds a run, whatever the rules; empty if nothing does."""
    own = [other for other in ordered if other.name == one.name]
    if one.state in AT_WORK:
        return {"unknown": "nobody can tell whether it is at work"}.get(one.state, f"it is {one.state}")
    if one.state == "pending" and now - one.created < JUST_MADE:
        return "it may be about to start"
    if one.latest or one is own[-1]:
        return "it is the newest run"
    if one.state == "done" and one is [other for other in own if other.state == "done"][-1]:
        return "it is the newest good run"
    return next((why for path, why in protected.items() if _within(path, one.folder)), "")


def _used(ordered: Sequence[Candidate], gone: set[Path]) -> dict[Path, str]:
    """Runs among those to go that one which stays reads from, with the reason."""
    found = {}
    for user in ordered:
        if user.folder not in gone:
            for folder in gone:
                if any(_within(path, folder) for path in user.uses):
                    found[folder] = f"{user.label} uses it"
    return found


def _spare_checkpoints(one: Candidate, ordered: Sequence[Candidate], keep: Mapping[str, Keep]) -> str:
    """Say why a finished train run's checkpoints can go; empty if they stay. Without an end, `resume` needs them."""
    most = keep[one.name].checkpoints if one.name in keep else None
    if most is None or not one.train or one.state != "done" or not one.checkpoints:
        return ""
    finished = [other for other in ordered if other.name == one.name and other.train and other.state == "done"]
    newer = len(finished) - 1 - finished.index(one)
    return f"{newer} newer finished run{'s' if newer != 1 else ''}" if newer >= most else ""


def _within(path: Path, folder: Path) -> bool:
    return path == folder or folder in path.parents

"""Who is champion, and who was: numbered events, each a file that appears whole or not at all.

The next event is a file with the next number, made by a hard link, which fails where that number is taken. So of two
commands at once one comes first, the other sees it and decides anew; nothing is locked and nothing is ever rewritten.
A crash leaves the event out or in.
"""

from __future__ import annotations

import getpass
import json
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from segbatch.errors import InputError, SegbatchError
from segbatch.runs.files import flush, temporary_name, write_json
from segbatch.runs.model_folder import ModelFolder
from segbatch.spec.problems import did_you_mean
from segbatch.spec.section import Section


class Event(Section):
    """One change of what a model's folder holds to be champion."""

    action: Literal["promote", "rollback", "remove", "restore"]
    """`remove`: the versions are about to be deleted; `restore`: they were not."""
    versions: tuple[str, ...]
    """The new champion, or the versions that go or stay."""
    before: str = ""
    """The champion before."""
    reason: str = ""
    time: str = ""
    """UTC, ISO 8601."""
    by: str = ""
    """User and machine."""


@dataclass(frozen=True)
class Standing:
    """A model's champions after some number of events."""

    number: int = 0
    """Events so far."""
    line: tuple[str, ...] = ()
    """Champions that led to the one of now, oldest first; those that were rolled back from are not in it."""
    removed: frozenset[str] = frozenset()
    """Versions that are deleted, or about to be."""

    @property
    def champion(self) -> str:
        """The champion; empty while there is none."""
        return self.line[-1] if self.line else ""

    @property
    def former(self) -> tuple[str, ...]:
        """Champions that rollback can go back to, nearest first."""
        behind = [version for version in self.line[::-1] if version not in self.removed and version != self.champion]
        return tuple(dict.fromkeys(behind))

    def after(self, event: Event) -> Standing:
        """Return the standing that an event leads to."""
        line, removed = self.line, self.removed
        if event.action == "promote":
            line = (*line, *event.versions)
        elif event.action == "rollback":
            line = line[: _last(line, event.versions[0]) + 1]
        elif event.action == "remove":
            removed |= set(event.versions)
        else:
            removed -= set(event.versions)
        return replace(self, number=self.number + 1, line=line, removed=removed)


def _last(line: tuple[str, ...], version: str) -> int:
    return len(line) - 1 - line[::-1].index(version)


def standing(model: ModelFolder) -> Standing:
    """Read all events of a model.

    Raises:
        InputError: one is damaged.
    """
    result = Standing()
    for event in events(model):
        result = result.after(event)
    return result


def events(model: ModelFolder) -> list[Event]:
    """Return all events of a model, oldest first.

    Raises:
        InputError: one is damaged.
    """
    found: list[Event] = []
    # By name, not by listing: a file server may show an old listing for a while.
    while (event := _read(model.event(len(found) + 1))) is not None:
        found.append(event)
    return found


def _read(path: Path) -> Event | None:
    try:
        return Event.model_validate(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read, so nobody knows the champion: {error}. Put it back.") from error


def promote(model: ModelFolder, version: str, *, over: str | None = None, reason: str = "") -> Standing:
    """Make a version the champion; without effect if it is the champion already.

    Args:
        model: the model.
        version: one of its versions.
        over: the champion it was compared with (empty for none); None to promote it over whichever there is.
        reason: kept with the event.

    Raises:
        InputError: there is no such version.
        SegbatchError: another has become champion since the comparison.
    """

    def decide(now: Standing) -> Event | None:
        require(model, version, now)
        if now.champion == version:
            return None
        if over is not None and now.champion != over:
            raise SegbatchError(
                f"{model.name}@{version} was compared with {over or 'no champion'}, but {now.champion} has become "
                f"champion of {model.name} since then. Compare them again: segbatch models gate"
            )
        return Event(action="promote", versions=(version,), before=now.champion, reason=reason)

    return change(model, decide)


def rollback(model: ModelFolder, *, reason: str = "") -> Standing:
    """Make the champion before the one of now the champion again.

    Raises:
        InputError: there is none to go back to.
    """

    def decide(now: Standing) -> Event:
        there = set(model.stored())
        back = next((version for version in now.former if version in there), None)
        if back is None:
            so_far = f"{now.champion} is its first" if now.champion else "it has none at all"
            raise InputError(f"{model.name}: no earlier champion to go back to; {so_far}.")
        return Event(action="rollback", versions=(back,), before=now.champion, reason=reason)

    return change(model, decide)


def require(model: ModelFolder, version: str, now: Standing) -> None:
    """Refuse a version that does not exist.

    Raises:
        InputError: with the nearest names.
    """
    known = sorted(name for name in model.stored() if name not in now.removed)
    if version in known:
        return
    if version in now.removed:
        raise InputError(f"{model.name}@{version} was removed by prune. {_versions(model, known)}")
    guess = did_you_mean(version, known)
    raise InputError(f"{model.name} has no version {version!r}.{guess} {_versions(model, known)}")


def _versions(model: ModelFolder, known: list[str]) -> str:
    if not known:
        return f"It has none in {model.folder.parent}."
    more = f" and {len(known) - 8} more" if len(known) > 8 else ""
    return f"Versions: {', '.join(known[::-1][:8])}{more}."


def change(model: ModelFolder, decide: Callable[[Standing], Event | None]) -> Standing:
    """Add the event that `decide` makes of the standing; it is asked again when another event came first.

    Args:
        model: the model.
        decide: gives an event, or None to leave things as they are; may raise to refuse.

    Returns:
        The standing with the event.
    """
    while True:
        now = standing(model)
        event = decide(now)
        if event is None:
            point_link(model)
            return now
        if _add(model, now.number + 1, event):
            point_link(model)
            return now.after(event)


def _add(model: ModelFolder, number: int, event: Event) -> bool:
    """Write an event; False if its number is taken."""
    stamped = event.model_copy(update={"time": datetime.now(UTC).isoformat(timespec="seconds"), "by": _user()})
    model.events.mkdir(parents=True, exist_ok=True)
    path = model.event(number)
    temporary = temporary_name(path)
    write_json(temporary, stamped.model_dump(mode="json"))
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        # A file server may have done it and lost its answer: then the file has two names.
        if temporary.stat().st_nlink != 2:
            return False
    except OSError as error:
        raise SegbatchError(
            f"{path}: cannot be made by a hard link: {error.strerror}. The registry needs a file system with hard "
            "links, and the right to write there."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    flush(model.events)
    return True


def _user() -> str:
    with suppress(OSError, KeyError, ImportError):
        return f"{getpass.getuser()}@{socket.gethostname()}"
    return socket.gethostname()


def point_link(model: ModelFolder) -> None:
    """Point the link at the champion, and again should it have changed meanwhile."""
    with suppress(OSError):
        while (champion := standing(model).champion) and _target(model.link) != champion:
            temporary = temporary_name(model.link)
            temporary.symlink_to(champion)
            temporary.replace(model.link)


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""

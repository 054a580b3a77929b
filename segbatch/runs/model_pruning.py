"""Deleting old versions: never a champion, never what a rollback may need, never what a run that goes on uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from segbatch.runs.champions import Event, Standing, change, standing
from segbatch.runs.model_folder import ModelFolder, ModelVersion
from segbatch.runs.model_registry import remove_tree, versions
from segbatch.runs.model_uses import uses

ABANDONED_S = 86_400.0
"""Age at which nobody goes on filling a folder that is not finished."""


@dataclass(frozen=True)
class Keep:
    """What stays; of `newest` and `days`, either is enough for a version to stay."""

    newest: int = 0
    """Newest versions that stay, besides champions."""
    days: float = 0
    """Versions up to this age stay."""
    champions: int = 3
    """Earlier champions that stay, nearest first, so that rollback finds them."""


@dataclass(frozen=True)
class Pruning:
    """What a pruning did, or would do."""

    removed: tuple[str, ...]
    """Versions, oldest first."""
    kept: tuple[tuple[str, str], ...]
    """Versions with the reason why they stay, oldest first."""


def judge(
    known: Sequence[ModelVersion],
    now: Standing,
    used: Mapping[str, Sequence[str]],
    keep: Keep,
    moment: datetime,
    used_besides: Mapping[str, str] | None = None,
) -> Pruning:
    """Divide a model's versions into those that go and those that stay.

    Args:
        known: the versions, oldest first.
        now: its champions.
        used: version -> folders of the runs that need it.
        keep: what stays.
        moment: now.
        used_besides: versions that stay for other reasons, with these.
    """
    reasons: dict[str, str] = {}
    for version in known[::-1][: keep.newest]:
        reasons[version.version] = "new enough" if keep.newest == 1 else f"one of the {keep.newest} newest"
    oldest = moment - timedelta(days=keep.days)
    for version in known:
        if keep.days and datetime.fromisoformat(version.created) > oldest:
            reasons.setdefault(version.version, f"younger than {keep.days:g} days")
        if runs := used.get(version.version):
            more = f" and {len(runs) - 1} more" if len(runs) > 1 else ""
            reasons[version.version] = f"used by {runs[0]}{more}"
    reasons |= used_besides or {}
    reasons |= dict.fromkeys(now.former[: keep.champions], "former champion") | {now.champion: "champion"}
    removed = tuple(version.version for version in known if version.version not in reasons)
    kept = tuple((version.version, reasons[version.version]) for version in known if version.version in reasons)
    return Pruning(removed, kept)


def prune(
    model: ModelFolder,
    keep: Keep,
    *,
    dry_run: bool = False,
    now: datetime | None = None,
    used_besides: Mapping[str, str] | None = None,
) -> Pruning:
    """Delete versions of a model, and what earlier prunings that were cut short left behind.

    Args:
        model: the model.
        keep: what stays.
        dry_run: only say what would go.
        now: the time; by default that of the clock.
        used_besides: versions that stay for other reasons, with these.
    """
    moment = now or datetime.now(UTC)
    outcome = Pruning((), ())

    def decide(current: Standing) -> Event | None:
        nonlocal outcome
        known = versions(model, current)
        used = {version.version: uses(model, version.version, moment.timestamp()) for version in known}
        outcome = judge(known, current, used, keep, moment, used_besides)
        return Event(action="remove", versions=outcome.removed, before=current.champion) if outcome.removed else None

    if dry_run:
        decide(standing(model))
        return outcome
    change(model, decide)
    saved = _restore_used(model, moment)
    _sweep(model, moment)
    outcome = Pruning(
        tuple(version for version in outcome.removed if version not in saved),
        (*outcome.kept, *((version, "used by a run that began just now") for version in sorted(saved))),
    )
    return outcome


def _restore_used(model: ModelFolder, moment: datetime) -> set[str]:
    """Keep what a run began to use between the look at its uses and the word that it goes."""
    there = set(model.stored())
    saved: set[str] = set()

    def decide(current: Standing) -> Event | None:
        doomed = sorted(current.removed & there)
        saved.update(version for version in doomed if uses(model, version, moment.timestamp()))
        return Event(action="restore", versions=tuple(sorted(saved))) if saved & current.removed else None

    change(model, decide)
    return saved


def _sweep(model: ModelFolder, moment: datetime) -> None:
    """Delete the folders of all versions that were named as removed, and old ones that never became a version."""
    for version in sorted(standing(model).removed):
        for folder in (model.version(version), model.scores(version), model.uses(version)):
            remove_tree(folder)
    for folder in model.unfinished():
        with suppress(FileNotFoundError):
            if moment.timestamp() - folder.stat().st_mtime > ABANDONED_S:
                remove_tree(folder)

"""Claims of rounds: each submit, resume or requeue is one, taken before a scheduler is asked for anything."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from segbatch.errors import SegbatchError
from segbatch.runs.files import write_json, write_text
from segbatch.runs.layout import RunPaths
from segbatch.runs.process import alive, process_identity

ABANDONED_S = 600.0
"""Age at which a claim from another machine, which cannot be asked, no longer counts."""


def claim_round(paths: RunPaths, *, force: bool = False) -> int:
    """Take the next round; two commands never get the same one, and none starts while another submits.

    Raises:
        SegbatchError: another command is submitting this run just now.
    """
    taken = rounds(paths)
    if taken and not force:
        _refuse_open(paths, taken[-1])
    number = (taken[-1] if taken else 0) + 1
    folder = paths.round(number)
    folder.parent.mkdir(exist_ok=True)
    try:
        folder.mkdir()
    except FileExistsError:
        raise _busy(paths, number, {}) from None
    write_json(folder / "claimed.json", {"time": time.time(), **process_identity(os.getpid())})
    return number


def rounds(paths: RunPaths) -> list[int]:
    """Return the numbers of the rounds of a run, in order."""
    folder = paths.round(0).parent
    if not folder.is_dir():
        return []
    return sorted(int(entry.name) for entry in folder.iterdir() if entry.name.isdigit())


def seal_round(paths: RunPaths, number: int) -> None:
    """Say that a round's command asks for nothing more."""
    write_text(paths.round(number) / "sealed", "")


def mark_cancelled(paths: RunPaths) -> None:
    """Tell the batch scripts of all rounds so far that what stops now must not come back."""
    for number in rounds(paths):
        write_text(paths.round(number) / "cancelled", "")


def _refuse_open(paths: RunPaths, number: int) -> None:
    folder = paths.round(number)
    if (folder / "sealed").exists():
        return
    claim = _claim(folder)
    running = alive(claim) if "pid" in claim else None
    age = time.time() - float(claim.get("time", folder.stat().st_mtime))
    if running or (running is None and age < ABANDONED_S):
        raise _busy(paths, number, claim)


def _claim(folder: Path) -> dict[str, Any]:
    try:
        value = json.loads((folder / "claimed.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _busy(paths: RunPaths, number: int, claim: dict[str, Any]) -> SegbatchError:
    who = f"process {claim['pid']} on {claim['host']}" if "pid" in claim else "another command"
    return SegbatchError(
        f"{paths.folder}: {who} is submitting this run just now (round {number}). "
        "Wait for it; if it is gone for certain, add --force."
    )

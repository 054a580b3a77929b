"""Temporary files that killed attempts left in a run's folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from segbatch.runs.attempts import Attempt, read_attempts
from segbatch.runs.files import maker_of, temporary_name
from segbatch.runs.layout import FINISH
from segbatch.runs.process import alive
from segbatch.runs.run import Run

ABANDONED_S = 600.0
"""Age at which a temporary file of another machine's process, which cannot be asked, is no longer being written."""


def remove_leftovers(run: Run) -> int:
    """Remove the temporary files of attempts that ended without a word; return their number.

    Files of processes that run are left alone, and young ones of processes on other machines. Where every attempt
    wrote its end, as all do that are not killed, no folder is read.
    """
    silent = list(_silent(run))
    if all(alive(attempt.start) for attempt in silent):
        return 0
    working = {attempt.start.get("pid") for attempt in silent if alive(attempt.start)}
    unknown = {attempt.start.get("pid") for attempt in silent if alive(attempt.start) is None} - working
    now = _file_clock(run.paths.folder)
    removed = 0
    for path, process in _temporary(run):
        if process in working or (process in unknown and _age(path, now) < ABANDONED_S):
            continue
        path.unlink(missing_ok=True)
        removed += 1
    return removed


def _silent(run: Run) -> Iterator[Attempt]:
    """Attempts that wrote no end: killed, or still at work."""
    for name in (*run.tasks, FINISH):
        yield from (attempt for attempt in read_attempts(run.paths.task(name)) if attempt.end is None)


def _temporary(run: Run) -> Iterator[tuple[Path, int]]:
    """Temporary files that attempts make, each with the number of its process."""
    paths = run.paths
    for top in (paths.masks, paths.probabilities, paths.report, paths.task(FINISH).folder.parent):
        for folder, _, names in os.walk(top):
            for name in names:
                process = maker_of(name)
                if process is not None:
                    yield Path(folder, name), process


def _file_clock(folder: Path) -> float:
    """What time it is for the files of a folder, whose server may have a clock of its own."""
    probe = temporary_name(folder / "clock")
    probe.touch()
    try:
        return probe.stat().st_mtime
    finally:
        probe.unlink()


def _age(path: Path, now: float) -> float:
    try:
        return now - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0

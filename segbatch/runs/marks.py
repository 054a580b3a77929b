"""Marks: what a predict task vouches for once it has ended by itself, so that nobody reads its masks again to be sure.

A worker that was killed proves nothing but what its journal says and the masks still bear out, file by file. One that
came to its end first has the operating system write everything to disk, and then leaves a mark: all tiles of its shard
but those named are done. From then on, `resume`, tasks cut anew and the report take its journal's word; `segbatch
resume --verify` reads the masks again and withdraws the marks that do not hold. Evaluate tasks leave none: the masks
that they count are not theirs, and may be changed by anybody.
"""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from segbatch.runs.files import write_json
from segbatch.runs.indexes import compact_indexes, expand_indexes
from segbatch.runs.journal import read_journal
from segbatch.runs.layout import TaskPaths
from segbatch.runs.run import Run


@dataclass(frozen=True)
class Mark:
    """What one task vouches for."""

    tiles: range
    """Its shard."""
    missing: frozenset[int]
    """Tiles of the shard that it does not vouch for: it rejected them, or a later attempt may have touched them."""


def vouch(run: Run, task: int, attempt: int, missing: Iterable[int] = ()) -> None:
    """Leave a task's mark, after its journal was closed.

    Args:
        run: the run.
        task: its number.
        attempt: the attempt that has come to its end.
        missing: positions, in the tile list, of the tiles of its shard that are not done.
    """
    flush_to_disk(run.paths.folder)
    shard = run.shard(task)
    facts = {"attempt": attempt, "first": shard.first, "count": shard.count, "missing": compact_indexes(missing)}
    write_json(run.paths.task(task).mark, facts)


def read_mark(paths: TaskPaths) -> Mark | None:
    """Return a task's mark; None if it left none. A damaged one is none."""
    try:
        facts = json.loads(paths.mark.read_bytes())
        tiles = range(facts["first"], facts["first"] + facts["count"])
        missing = set(expand_indexes(facts["missing"])) if facts["missing"] else set()
        attempt = int(facts["attempt"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    # What a later attempt wrote, perhaps over a mask that was there, may not have reached the disk.
    later = [path for number, path in paths.journals() if number > attempt]
    missing.update(row.index for path in later for row in read_journal(path))
    return Mark(tiles, frozenset(missing))


def read_vouched(paths: TaskPaths, within: range | None = None) -> dict[int, bool]:
    """Return the tiles (or those within a range) that a task vouches for, as the keys of a mapping to True."""
    mark = read_mark(paths)
    if mark is None:
        return {}
    return {index: True for index in mark.tiles if index not in mark.missing and (within is None or index in within)}


def withdraw(paths: TaskPaths) -> None:
    """Take a task's mark back: its masks are looked at again."""
    paths.mark.unlink(missing_ok=True)


def flush_to_disk(folder: Path) -> None:
    """Have all that was written to a folder's file system reach the disk.

    One call for thousands of masks; `fsync` of each would quarter the speed of a task.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        # Linux alone has it, and Python does not offer it.
        ctypes.CDLL(None, use_errno=True).syncfs(descriptor)
    except AttributeError:
        os.sync()
    finally:
        os.close(descriptor)

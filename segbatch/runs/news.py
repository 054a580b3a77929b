"""What is new since the last training: the tiles that its split does not name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from segbatch.errors import SegbatchError
from segbatch.runs.layout import RunPaths
from segbatch.runs.run import Run, open_run
from segbatch.runs.splits import Place, read_split


def last_trained(folders: Iterable[Path]) -> Run | None:
    """Open the newest of some runs whose training came to its end; None if there is none.

    Args:
        folders: of runs, newest first.
    """
    for folder in folders:
        if (RunPaths(folder).model / "bundle.json").is_file():
            with suppress(SegbatchError):
                return open_run(folder)
    return None


def new_tiles(split: Iterable[Place], last: Run | None) -> Sequence[str]:
    """Return the names of a training's tiles that the last one did not have, sorted; all without one."""
    known = read_split(last.paths.split) if last is not None else {}
    return sorted(name for name, _, _ in split if name not in known)

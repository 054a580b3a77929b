"""Cuts: what was missing of a run, shared out anew over another number of tasks; one line of `cuts.jsonl` each.

The tasks of a cut are numbered on after all earlier ones. They replace the current tasks whose tiles they hold, whole
tasks at a time, so that the current tasks of a run always share out its tile list without gap or overlap. What the
replaced ones finished stays proven by their journals.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from pydantic import ValidationError

from segbatch.errors import InputError
from segbatch.runs.files import append_line, read_lines
from segbatch.runs.layout import RunPaths
from segbatch.runs.tiles import Shard
from segbatch.spec.job import Job, PredictJob
from segbatch.spec.section import Section


class Cut(Section):
    """One line of `cuts.jsonl`."""

    time: float
    """Seconds since 1970."""
    first_task: int
    """Number of the first of its tasks."""
    shards: tuple[tuple[int, int, int], ...]
    """First tile, number of tiles, byte offset in tiles.csv: one a task, in the order of the tile list."""
    kept: tuple[int, ...]
    """Tiles of each shard that were proven when it was cut."""

    @property
    def tasks(self) -> range:
        """Numbers of its tasks."""
        return range(self.first_task, self.first_task + len(self.shards))


def batch_tiles(job: Job) -> int:
    """Tiles that a task computes together; no cut runs through them, so that they are the same however work is cut."""
    return job.predict.batch_size if isinstance(job, PredictJob) and job.predict.fit == "resize" else 1


def read_cuts(paths: RunPaths, tasks: int) -> tuple[Cut, ...]:
    """Return the cuts of a run that was submitted with so many tasks, oldest first.

    Raises:
        InputError: the file is damaged.
    """
    cuts: list[Cut] = []
    for line in read_lines(paths.cuts):
        try:
            cut = Cut.model_validate(line)
        except ValidationError as error:
            raise InputError(f"{paths.cuts}: not cuts of a run: {error}") from error
        # Of two cuts made at the same moment the first counts.
        if cut.first_task < tasks:
            continue
        if cut.first_task > tasks:
            raise InputError(f"{paths.cuts}: tasks {tasks} to {cut.first_task - 1} are missing: a line was lost.")
        cuts.append(cut)
        tasks = cut.tasks.stop
    return tuple(cuts)


def record_cut(paths: RunPaths, cut: Cut) -> None:
    """Append one cut; from this moment on its tasks exist."""
    append_line(paths.cuts, cut.model_dump(mode="json"))


def current(shards: Sequence[Shard], submitted: int, cuts: Iterable[Cut]) -> list[int]:
    """Return the numbers of the tasks that no later cut replaced, in ascending order.

    Args:
        shards: those of all tasks.
        submitted: number of tasks before any cut.
        cuts: oldest first.
    """
    found = list(range(submitted))
    for cut in cuts:
        new = [shards[task] for task in cut.tasks]
        found = [task for task in found if not _overlaps(shards[task], new)] + list(cut.tasks)
    return found


def _overlaps(shard: Shard, others: Sequence[Shard]) -> bool:
    """Tell whether a shard has a tile in common with one of the others, which are in order."""
    before = bisect_left(others, shard.stop, key=lambda other: other.first) - 1
    return before >= 0 and others[before].stop > shard.first

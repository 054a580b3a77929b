"""Sharing out what is missing of a run over another number of tasks."""

from __future__ import annotations

import time
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

from segbatch.errors import InputError, SegbatchError
from segbatch.runs.cuts import Cut, batch_tiles, record_cut
from segbatch.runs.outputs import missing_tiles
from segbatch.runs.run import Run
from segbatch.runs.tiles import line_starts


@dataclass(frozen=True)
class Recut:
    """What became of a request to cut a run's missing tiles anew."""

    run: Run
    """The run with its new tasks."""
    tasks: range
    """Numbers of the new tasks; none if nothing was missing."""
    missing: int
    """Number of tiles to do."""
    batches: int
    """Number of batches that hold them; no task is smaller than one."""
    batch_tiles: int
    """Tiles of a batch."""


def recut(run: Run, tasks: int) -> Recut:
    """Cut what is missing of a predict or evaluate run into at most `tasks` new tasks, of as many batches each.

    The run must not be at work; should a task be nevertheless, both do the same tiles, and no harm comes of it.

    Raises:
        InputError: it is a train run.
        SegbatchError: somebody else cut the run at this moment.
    """
    if run.record.kind == "train":
        raise InputError(
            f"{run.label}: expected a predict or evaluate run for --tasks, received a train run, whose work is one "
            f"task. Go on with: segbatch resume {run.paths.folder}"
        )
    batch = batch_tiles(run.job)
    missing = array("q", missing_tiles(run))
    spans = share_out([run.shard(task).indexes for task in run.current_tasks], missing, tasks, batch)
    batches = len({index // batch for index in missing})
    if not spans:
        return Recut(run, range(0), 0, 0, batch)
    offsets = _offsets(run, (span.start for span in spans))
    cut = Cut(
        time=time.time(),
        first_task=len(run.tasks),
        shards=tuple((span.start, len(span), offset) for span, offset in zip(spans, offsets, strict=True)),
        kept=tuple(len(span) - _within(span, missing) for span in spans),
    )
    for task in cut.tasks:
        run.paths.task(task).folder.mkdir(parents=True, exist_ok=True)
    record_cut(run.paths, cut)
    found = Run(run.paths, run.record)
    if cut not in found.cuts:
        raise SegbatchError(f"{run.label}: it was cut by another command at the same moment, which goes on with it.")
    return Recut(found, cut.tasks, len(missing), batches, batch)


def share_out(parts: Iterable[range], missing: Sequence[int], tasks: int, batch: int) -> list[range]:
    """Cut the tile list into ranges that hold all missing tiles, with as many batches to do each, to within one.

    Ranges begin and end where a batch does. Together they hold whole parts: those that miss tiles, and those between
    two that one range holds both. Finished tiles between two ranges of one part go to the earlier one.

    Args:
        parts: how the list is cut now, without gap or overlap, between batches.
        missing: indexes of the tiles to do, ascending.
        tasks: number of ranges at most.
        batch: number of tiles in a batch.

    Returns:
        The ranges in order; fewer than `tasks` when there are fewer batches to do, none when nothing is missing.
    """
    batches = sorted({index // batch for index in missing})
    count = min(tasks, len(batches))
    if not count:
        return []
    ordered = sorted(parts, key=lambda part: part.start)
    starts = [part.start for part in ordered]

    def part_of(number: int) -> range:
        return ordered[bisect_right(starts, number * batch) - 1]

    groups = [batches[number * len(batches) // count : (number + 1) * len(batches) // count] for number in range(count)]
    first, stop = part_of(batches[0]).start, part_of(batches[-1]).stop
    ranges = []
    for group, following in pairwise(groups):
        end, ahead = part_of(group[-1]), part_of(following[0])
        between = following[0] * batch if end == ahead else end.stop
        ranges.append(range(first, between))
        first = between if end == ahead else ahead.start
    return [*ranges, range(first, stop)]


def _within(span: range, indexes: Sequence[int]) -> int:
    """Number of ascending indexes that lie in a range."""
    return bisect_left(indexes, span.stop) - bisect_left(indexes, span.start)


def _offsets(run: Run, firsts: Iterable[int]) -> list[int]:
    """Bytes of the tile list where the lines of some tiles begin; only the shards that hold them are read."""
    known = sorted(run.record.shards)
    offsets = []
    for first in firsts:
        start, _, offset = known[bisect_right(known, first, key=lambda shard: shard[0]) - 1]
        offsets.append(next(islice(line_starts(run.paths.tiles, offset), first - start, None)))
    return offsets

"""Walking through the tile list beside all that the tasks, overlapping as cuts make them, left for each tile."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from segbatch.runs.layout import TaskPaths
from segbatch.runs.run import Run

Entry = TypeVar("Entry")
Read = Callable[[TaskPaths, range | None], Mapping[int, Entry]]


class Sweep(Generic[Entry]):
    """Looks up what tasks left for a tile, for tiles in ascending order.

    The files of a task are read once, when the walk comes to a tile of its shard, and let go behind its last one. So
    neither memory nor time grows with the number of tasks, but only with their size.

    Args:
        run: the run.
        read: gives a task's entries by tile index, all or those within a range.
        tiles: indexes that will be asked for; the run's whole list without.
    """

    def __init__(self, run: Run, read: Read[Entry], tiles: range | None = None) -> None:
        self._run, self._read, self._tiles = run, read, tiles
        shards = [(task, run.shard(task)) for task in run.tasks]
        if tiles is not None:
            shards = [(task, shard) for task, shard in shards if shard.first < tiles.stop and shard.stop > tiles.start]
        # The next one to come is the last of the list.
        self._ahead = sorted(((shard.first, shard.stop, task) for task, shard in shards), reverse=True)
        self._open: dict[int, tuple[int, Mapping[int, Entry]]] = {}
        self._change = 0

    def at(self, index: int) -> list[Entry]:
        """Return what the tasks left for one tile, the newest task first; `index` never goes back."""
        if index >= self._change:
            self._move(index)
        return [entries[index] for _, entries in self._open.values() if index in entries]

    def _move(self, index: int) -> None:
        """Let go of the tasks that end before a tile, and read those that hold it."""
        self._open = {task: entry for task, entry in self._open.items() if entry[0] > index}
        while self._ahead and self._ahead[-1][0] <= index:
            _, stop, task = self._ahead.pop()
            if stop > index:
                self._open[task] = (stop, self._read(self._run.paths.task(task), self._tiles))
        self._open = dict(sorted(self._open.items(), reverse=True))
        starts = [self._ahead[-1][0]] if self._ahead else []
        self._change = min([*starts, *(stop for stop, _ in self._open.values())], default=index + 1)

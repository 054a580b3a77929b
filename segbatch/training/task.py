"""The train task: a run's tiles and split in, a bundle out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from segbatch.data.pairs import pair_of
from segbatch.errors import Exit, InputError, SegbatchError
from segbatch.runs.bundles import bundle_digest
from segbatch.runs.forcing import forced, settle
from segbatch.runs.run import Run
from segbatch.runs.splits import read_split
from segbatch.runs.staging import staged
from segbatch.runs.tiles import Tile, read_tiles
from segbatch.spec.job import TrainJob
from segbatch.training.news import check_news
from segbatch.training.peers import Peers
from segbatch.training.worker import train


def train_task(run: Run, task: int, peers: Peers | None, stop: Callable[[], bool], log: Callable[[str], None]) -> int:
    """Train, or go on training, and leave the bundle in the run's folder.

    Args:
        run: the run.
        task: number of its task.
        peers: the processes that do this task together; None for one alone.
        stop: asked after every step whether to stop there.
        log: told what goes on.

    Returns:
        The exit code.

    Raises:
        Interrupted: a signal came; a checkpoint holds all that was done.
    """
    job = run.job
    if not isinstance(job, TrainJob):
        raise InputError(f"{run.label} is no train run")
    split = read_split(run.paths.split)
    parts: dict[str, list[Tile]] = {"train": [], "val": []}
    for tile in read_tiles(run.paths.tiles):
        parts[split[tile.name][1]].append(tile)
    run.paths.training.mkdir(parents=True, exist_ok=True)
    if peers is None or peers.chief:
        check_news(run, log)
    with staged(run, [*parts["train"], *parts["val"]], stop, log) as roots:
        train(
            job,
            [pair_of(tile, *roots) for tile in parts["train"]],
            [pair_of(tile, *roots) for tile in parts["val"]],
            ([tile.name for tile in parts["train"]], [tile.name for tile in parts["val"]]),
            folder=run.paths.training,
            bundle=run.paths.model,
            progress_path=run.paths.task(task).progress,
            stop=stop,
            provenance=_provenance(run),
            start=_start(run),
            force=forced(run),
            peers=peers,
            log=log,
        )
    if peers is None or peers.chief:
        settle(run)
    return int(Exit.OK)


def _start(run: Run) -> Path | None:
    if not run.record.start_bundle:
        return None
    bundle = Path(run.record.start_bundle)
    if bundle_digest(bundle) != run.record.digests["start"]:
        raise SegbatchError(
            f"{bundle}: the model that training starts from has changed since the run was submitted. "
            "Submit a new run, or put the old model back."
        )
    return bundle


def _provenance(run: Run) -> dict[str, Any]:
    record = run.record
    origin = {"run": run.label, "created": record.created, "digests": record.digests, "versions": record.versions}
    return origin | ({"start_from": record.start_from or record.start_bundle} if record.start_bundle else {})

"""The finishing task: merges what all tasks journalled, names what is missing, and writes the report."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segbatch.data.faults import PictureError
from segbatch.data.pictures import shown_values
from segbatch.errors import Exit, SegbatchError
from segbatch.evaluation.counts import unpack, unpack_pixels
from segbatch.evaluation.pictures import panel_names, tile_picture
from segbatch.evaluation.read import read_index_map
from segbatch.evaluation.record import TileRecord
from segbatch.evaluation.report import write_report
from segbatch.evaluation.summary import Title
from segbatch.runs.journal import NO_TRUTH, JournalRow, read_rejections
from segbatch.runs.leftovers import remove_leftovers
from segbatch.runs.mask_archives import collect, discard
from segbatch.runs.masks import mask_path, with_table
from segbatch.runs.outputs import checked_tiles
from segbatch.runs.progress import read_progress
from segbatch.runs.run import Run
from segbatch.runs.sweep import Sweep
from segbatch.runs.tiles import Tile, read_tiles
from segbatch.spec.job import PredictJob

Log = Callable[[str], None]
STAGES = ("wait for tiles", "step", "wait for step", "clean", "encode", "write")


def finish(run: Run, log: Log) -> int:
    """Write a run's report from its journals.

    Returns:
        0, or 3 when tiles were rejected.

    Raises:
        SegbatchError: tiles are missing; the report is written all the same and says which.
    """
    if removed := remove_leftovers(run):
        log(f"removed {removed} unfinished files of killed attempts")
    if run.record.kind == "train":
        return _finish_training(run, log)
    collect(run, log)
    merge = Merge(run)
    folder = run.paths.report
    folder.mkdir(exist_ok=True)
    summary = write_report(
        folder,
        title=Title(run.record.id, run.record.name, run.record.kind),
        labels=run.record.labels,
        truth=bool(run.record.masks_root),
        records=merge.records(),
        rejected=merge.rejected_in_order(),
        missing=merge.missing,
        timing=_timing(run),
        provenance=_provenance(run),
        picture=merge.picture,
        panels=panel_names(image=bool(run.record.images_root), truth=bool(run.record.masks_root)),
        pictures=run.job.report.pictures,
    )
    tiles = summary["tiles"]
    log(f"report of {tiles['done']} tiles, {tiles['rejected']} rejected, {tiles['missing']} missing: {folder}")
    if merge.missing:
        raise SegbatchError(
            f"{len(merge.missing)} of {run.record.tiles} tiles are missing, such as {merge.missing[0]!r}. "
            f"Finish them with: segbatch resume {run.paths.folder}"
        )
    discard(run)
    if tiles["rejected"] and not tiles["done"]:
        raise SegbatchError(f"every tile was rejected; {folder / 'rejected.csv'} says why")
    return int(Exit.REJECTED if tiles["rejected"] else Exit.OK)


def _finish_training(run: Run, log: Log) -> int:
    if not (run.paths.model / "bundle.json").exists():
        raise SegbatchError(f"the training did not end: no bundle. Go on with: segbatch resume {run.paths.folder}")
    log(f"bundle {run.paths.model}")
    summary = json.loads((run.paths.training / "summary.json").read_bytes())
    return int(Exit.REJECTED if summary["rejected"] else Exit.OK)


@dataclass
class Merge:
    """What all tasks of a run did, read tile by tile in the order of the tile list, however they overlap."""

    run: Run
    missing: list[str] = field(default_factory=list)
    rejected: list[tuple[str, str]] = field(default_factory=list)

    def records(self) -> Iterator[TileRecord]:
        """Yield the finished tiles; rejected and missing ones are noted on the way."""
        rejections = Sweep(self.run, read_rejections)
        for index, tile, row in with_table(self.run, checked_tiles(self.run, trust=True)):
            if row is not None:
                yield self._record(tile, row)
            elif told := rejections.at(index):
                self.rejected.append((tile.name, told[0][1]))
                self._discard(index, tile)
            else:
                self.missing.append(tile.name)

    def _discard(self, index: int, tile: Tile) -> None:
        """Remove what an attempt wrote of a tile, and did not live to journal, before another one rejected it."""
        if self.run.record.kind == "predict":
            path = mask_path(self.run, index, tile)
            for written in (path, self.run.paths.probabilities / path.relative_to(self.run.paths.masks)):
                with suppress(FileNotFoundError, NotADirectoryError):
                    written.unlink()

    def rejected_in_order(self) -> Iterator[tuple[str, str]]:
        """Yield the rejected tiles with their reasons; complete once `records` has been read to its end."""
        yield from self.rejected

    def _record(self, tile: Tile, row: JournalRow) -> TileRecord:
        classes = len(self.run.record.labels.scored)
        counts = None if row.counts == NO_TRUTH else unpack(row.counts, classes)
        return TileRecord(tile.name, row.height, row.width, counts, unpack_pixels(row.predicted, classes))

    def picture(self, name: str) -> bytes | None:
        """Draw one tile for the report; None if its files cannot be read any more."""
        # Looked up in the list, not kept: only a few of what may be millions of tiles are drawn.
        tiles = enumerate(read_tiles(self.run.paths.tiles))
        index, tile = next((index, tile) for index, tile in tiles if tile.name == name)
        record = self.run.record
        try:
            predicted = read_index_map(mask_path(self.run, index, tile), self._written_table(), role="prediction")
            truth = None
            if record.masks_root and tile.mask:
                truth = read_index_map(Path(record.masks_root, tile.mask), record.labels.raw_to_index(), role="truth")
            image = None
            if record.images_root and tile.image:
                image = shown_values(Path(record.images_root, tile.image))
            return tile_picture(image, truth, predicted, record.labels)
        except (OSError, PictureError, SegbatchError):
            return None

    def _written_table(self) -> bytes:
        job, labels = self.run.job, self.run.record.labels
        if isinstance(job, PredictJob):
            values = job.predict.values
        else:
            values = job.data.predictions.values if job.data.predictions else "ids"
        return labels.id_to_index() if values == "ids" else labels.raw_to_index()


def _timing(run: Run) -> dict[str, Any]:
    """Sum over all attempts of all tasks, replaced or not; tasks that ran at once add up, as node hours do."""
    spent: Counter[str] = Counter()
    for task in run.tasks:
        spent.update(read_progress(run.paths.task(task).progress).get("spent", {}))
    seconds = spent.get("seconds", 0)
    if not seconds:
        return {}
    return {
        "tiles_per_second": round(spent["tiles"] / seconds, 3),
        "megapixels_per_second": round(spent["megapixels"] / seconds, 3),
        "seconds": round(seconds, 3),
        "stages": {name: round(spent[name], 3) for name in STAGES if name in spent},
    }


def _provenance(run: Run) -> dict[str, Any]:
    record = run.record
    named = {
        "run": run.label,
        "created": record.created,
        "job file": record.job_file,
        "images": record.images_root,
        "truth": record.masks_root,
        "masks": record.predictions_root or str(run.paths.masks),
        "model": record.bundle,
        "registered as": record.model,
        "versions": record.versions,
        "digests": record.digests,
    }
    return {key: value for key, value in named.items() if value}

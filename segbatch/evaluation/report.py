"""The report of a run: one pass over its tiles writes the tables, the summary and the page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segbatch.evaluation.counts import Counts
from segbatch.evaluation.page import PageContent, Picture, render_page
from segbatch.evaluation.ranking import Extremes, Sample, Shown
from segbatch.evaluation.record import TileRecord
from segbatch.evaluation.scores import Score, Scores, ratio, score
from segbatch.evaluation.summary import TileCounts, Title, build_summary
from segbatch.evaluation.tables import tile_table, write_classes, write_confusion, write_rejected
from segbatch.runs.files import write_json, write_text
from segbatch.spec.labels import Labels

BINS = 20
"""Bars of the histogram of tiles by mean IoU."""
LISTED = 50
"""Rejected and missing tiles that the page names."""


class _Totals:
    """What is kept while the records go by."""

    def __init__(self, classes: int, pictures: int, *, truth: bool) -> None:
        self.truth = truth
        self.counts: Counts = np.zeros((classes, classes + 1), np.int64)
        self.predicted: Counts = np.zeros(classes, np.int64)
        self.pixels = 0
        self.done = 0
        self.scored = 0
        self.histogram: NDArray[np.int64] = np.zeros(BINS, np.int64)
        self.extremes = Extremes(pictures if truth else 0)
        self.sample = Sample(0 if truth else 2 * pictures)

    def add(self, record: TileRecord) -> Scores | None:
        """Take one tile in; return its scores, or None in a report without truth."""
        self.done += 1
        self.pixels += record.height * record.width
        self.predicted += record.predicted
        if not self.truth:
            self.sample.add(record)
            return None
        counts = np.zeros_like(self.counts) if record.counts is None else record.counts
        self.counts += counts
        scores = score(counts)
        if scores.mean_iou is not None:
            self.scored += 1
            self.histogram[min(int(scores.mean_iou * BINS), BINS - 1)] += 1
            self.extremes.add(record, scores)
        return scores

    def shares(self, scores: Scores | None) -> tuple[Score, ...]:
        """Share of the prediction by class: of the valid pixels with truth, of all pixels without."""
        if scores is not None:
            return scores.share_of_prediction
        return tuple(ratio(count, self.pixels) for count in self.predicted.tolist())


@dataclass
class _Head:
    """Passes pairs on, keeping the first few and the number."""

    kept: list[tuple[str, str]]
    count: int = 0

    def watch(self, pairs: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
        for pair in pairs:
            self.count += 1
            if len(self.kept) < LISTED:
                self.kept.append(pair)
            yield pair


def write_report(
    folder: Path,
    *,
    title: Title,
    labels: Labels,
    truth: bool,
    records: Iterable[TileRecord],
    rejected: Iterable[tuple[str, str]] = (),
    missing: Sequence[str] | int = 0,
    timing: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
    picture: Callable[[str], bytes | None] | None = None,
    panels: Sequence[str] = (),
    pictures: int = 6,
) -> dict[str, Any]:
    """Write `tiles.csv`, `classes.csv`, `confusion.csv`, `rejected.csv`, `summary.json` and `index.html`.

    Each file appears whole or not at all and replaces its predecessor. Memory does not grow with the tiles.

    Args:
        folder: the report's folder; made if need be.
        title: run and job.
        labels: the classes.
        truth: the job has ground truth. Without it there are class shares, no scores and no `confusion.csv`.
        records: the finished tiles, sorted by name by the caller; read once. With `truth`, a record without counts
            is a tile without valid pixels.
        rejected: tile and reason, sorted; read once.
        missing: names (or only the number) of tiles that no task has finished.
        timing: as `build_summary` takes it.
        provenance: where the results come from, for people: nested names and values; `digests` among them.
        picture: gives a tile's picture (PNG or JPEG, as `segbatch.evaluation.pictures.tile_picture` draws it) by name,
            or None where it has none. Called for the few tiles shown, after all records are read.
        panels: captions of a picture's panels, left to right.
        pictures: best and worst tiles shown, each; without truth, twice as many are drawn by hash of their names.

    Returns:
        The values of `summary.json`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    totals = _Totals(len(labels.names), pictures, truth=truth)
    with tile_table(folder / "tiles.csv", labels, truth=truth) as add_row:
        for record in records:
            add_row(record, totals.add(record))
    head = _Head([])
    write_rejected(folder / "rejected.csv", head.watch(rejected))
    scores = score(totals.counts) if truth else None
    shares = totals.shares(scores)
    write_classes(folder / "classes.csv", labels, scores, shares)
    if truth:
        write_confusion(folder / "confusion.csv", labels, totals.counts)
    else:
        (folder / "confusion.csv").unlink(missing_ok=True)
    absent = missing if isinstance(missing, int) else len(missing)
    tiles = TileCounts(totals.done + head.count + absent, totals.done, totals.scored, head.count, absent)
    summary = build_summary(title, labels, scores, shares, tiles, timing or {}, provenance or {})
    content = PageContent(
        title=title,
        labels=labels,
        scores=scores,
        shares=shares,
        counts=totals.counts if truth else None,
        pixels=totals.pixels,
        tiles=tiles,
        histogram=tuple(totals.histogram.tolist()),
        best=_drawn(totals.extremes.best(), picture),
        worst=_drawn(totals.extremes.worst(), picture),
        sample=_drawn(totals.sample.tiles(), picture),
        panels=tuple(panels),
        rejected=tuple(head.kept),
        missing=() if isinstance(missing, int) else tuple(islice(missing, LISTED)),
        timing=timing or {},
        provenance=provenance or {},
    )
    write_text(folder / "index.html", render_page(content))
    write_json(folder / "summary.json", summary)
    return summary


def _drawn(tiles: Sequence[Shown], picture: Callable[[str], bytes | None] | None) -> tuple[Picture, ...]:
    return tuple(Picture(item, picture(item.tile) if picture else None) for item in tiles)

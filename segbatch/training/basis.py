"""What a training rests on before its first step: class weights and normalisation, from the training part alone.

The statistics behind them are measured once and kept in the run; a resumed training takes those.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segbatch.data.class_weights import weights_by, weights_given
from segbatch.data.normalize import Normalization
from segbatch.data.statistics import Statistics, measure
from segbatch.errors import InputError, Interrupted, SegbatchError
from segbatch.runs.progress import TaskProgress
from segbatch.spec.job import TrainJob
from segbatch.spec.loss import BETA, Term
from segbatch.spec.normalization import MEASURED
from segbatch.training.checkpoint import DamagedCheckpointError, read_arrays, write_arrays
from segbatch.training.feed import Feed
from segbatch.training.identity import Identity
from segbatch.training.losses import Weights
from segbatch.training.tables import Cell, write_table

STATISTICS_FILE = "statistics.npz"
WEIGHTS_FILE = "class_weights.csv"
_ARRAYS = ("pixels", "areas", "mean_image", "square")


@dataclass(frozen=True)
class Basis:
    """What loss and normalisation are made with."""

    job: TrainJob
    statistics: Statistics | None
    """None where nothing of the job needs any."""

    @cached_property
    def weights(self) -> tuple[Weights, ...]:
        """Class weights of each term of the loss."""
        return tuple(self._weights(term) for term in self.job.loss.terms)

    @property
    def mean(self) -> tuple[float, ...] | None:
        """Mean of each band, where images are normalised by it."""
        if self.statistics is None or self.job.model.normalize != "standardize":
            return None
        return tuple(self.statistics.mean.tolist())

    @property
    def mean_image(self) -> NDArray[np.float64] | None:
        """[h, w, bands], where images are normalised by it."""
        if self.statistics is None or self.job.model.normalize != "standardize_image":
            return None
        return self.statistics.mean_image

    @property
    def deviation(self) -> tuple[float, ...] | None:
        """Deviation of each band, or one for all from the mean image, where images are normalised by it."""
        if self.statistics is None or self.job.model.normalize not in MEASURED:
            return None
        if self.job.model.normalize == "standardize":
            return tuple(self.statistics.deviation.tolist())
        return (self.statistics.deviation_from_image,)

    @property
    def normalization(self) -> Normalization:
        """How images are normalised."""
        mean = self.mean if self.mean_image is None else self.mean_image
        return Normalization(self.job.model.normalize, self.job.data.depth, mean, self.deviation)

    def to_provenance(self) -> dict[str, Any]:
        """What a bundle says of it: tiles and pixels of the training part, class weights of each weighted loss."""
        names, told = self.job.labels.names, {}
        if self.statistics is not None:
            pixels = dict(zip(names, self.statistics.pixels.tolist(), strict=True))
            told["training_part"] = {"tiles": self.statistics.tiles, "pixels": pixels}
        weights = [
            {"loss": term.name, "scheme": term.scheme, "weights": dict(zip(names, values.tolist(), strict=True))}
            for term, values in self._weighted()
        ]
        return told | ({"class_weights": weights} if weights else {})

    def write_weights(self, path: Path) -> None:
        """Write a table of the classes: pixels, share, weights; nothing where there are no weights."""
        weighted = self._weighted()
        if not weighted:
            return
        several = len(weighted) > 1
        heads = [f"weight {term.name}" if several else "weight" for term, _ in weighted]
        pixels = None if self.statistics is None else self.statistics.pixels
        rows: list[list[Cell]] = []
        for index, name in enumerate(self.job.labels.names):
            counts: list[Cell] = [None, None]
            if pixels is not None:
                counts = [int(pixels[index]), float(pixels[index] / max(pixels.sum(), 1))]
            rows.append([name, *counts, *(float(values[index]) for _, values in weighted)])
        write_table(path, ("class", "pixels", "share", *heads), rows)

    def _weighted(self) -> list[tuple[Term, NDArray[np.float64]]]:
        both = zip(self.job.loss.terms, self.weights, strict=True)
        return [(term, values) for term, values in both if values is not None]

    def _weights(self, term: Term) -> Weights:
        if term.class_weights is None:
            return None
        if not isinstance(term.class_weights, str):
            return weights_given(term.class_weights, self.job.labels.names)
        if self.statistics is None:
            raise RuntimeError("class weights without pixel counts")
        beta = BETA if term.beta is None else term.beta
        return weights_by(term.class_weights, self.statistics.pixels, self.statistics.areas, beta)


def lay_basis(
    job: TrainJob,
    feed: Feed,
    identity: Identity,
    folder: Path,
    progress_path: Path,
    stop: Callable[[], bool],
    log: Callable[[str], None],
    *,
    tell: bool = True,
) -> Basis:
    """Take the statistics of the training part, or those that an earlier attempt took, and say what follows.

    Args:
        job: what to train.
        feed: the training part.
        identity: of the training.
        folder: statistics and class weights go here.
        progress_path: progress file of the task.
        stop: asked after every few tiles whether to stop there.
        log: told what goes on, line by line.
        tell: write the table of class weights, as the first of several processes does.

    Raises:
        InputError: the statistics that are there belong to other data.
        Interrupted: `stop` said so; the next attempt begins anew.
        SegbatchError: not one tile could be read.
    """
    needed = job.loss.needs_counts or job.model.normalize in MEASURED
    statistics = None
    if needed:
        path = folder / STATISTICS_FILE
        statistics = _read(path, _data_of(identity), log) or _take(job, feed, path, identity, progress_path, stop, log)
    basis = Basis(job, statistics)
    if tell:
        basis.write_weights(folder / WEIGHTS_FILE)
    return basis


def _data_of(identity: Identity) -> Identity:
    """What statistics depend on: the tiles of the training part, and how they are read and resized."""
    settings = {key: identity.settings[key] for key in ("labels", "data")}
    model = {key: identity.settings["model"][key] for key in ("input", "resize")}
    return Identity(settings | {"model": model}, {"train": identity.tiles["train"]})


def _read(path: Path, data: Identity, log: Callable[[str], None]) -> Statistics | None:
    if not path.exists():
        return None
    try:
        arrays, state = read_arrays(path)
        named: dict[str, Any] = dict(zip(_ARRAYS, arrays, strict=True))
        different = data.differences(state["of"])
        statistics = Statistics(state["tiles"], **named)
    except (DamagedCheckpointError, ValueError, KeyError, TypeError) as error:
        log(f"damaged statistics, taken anew: {error}")
        return None
    if different:
        raise InputError(
            f"{path}: these statistics belong to other data: {'; '.join(different[:5])}. "
            "Put the data and settings back as they were, or submit the job as a new run."
        )
    return statistics


def _take(
    job: TrainJob,
    feed: Feed,
    path: Path,
    identity: Identity,
    progress_path: Path,
    stop: Callable[[], bool],
    log: Callable[[str], None],
) -> Statistics:
    progress = TaskProgress(progress_path, total=len(feed.pairs))
    progress.update(0, note="statistics", force=True)
    started = time.monotonic()

    def tick(done: int) -> None:
        progress.update(done, note="statistics")
        if stop():
            progress.update(done, note="interrupted", force=True)
            raise Interrupted(
                f"Stopped while taking statistics, after {done} of {len(feed.pairs)} tiles; `segbatch resume` takes "
                "them anew."
            )

    statistics = measure(job, feed.pairs, readers=feed.readers, tick=tick)
    if statistics is None:
        raise SegbatchError("Not one tile of the training part could be read; `segbatch check` says why.")
    arrays = [getattr(statistics, name) for name in _ARRAYS]
    write_arrays(path, arrays, {"of": _data_of(identity).to_json(), "tiles": statistics.tiles})
    log(f"statistics of {statistics.tiles} training tiles taken in {time.monotonic() - started:.1f} s")
    absent = [name for name, count in zip(job.labels.names, statistics.pixels, strict=True) if not count]
    if absent:
        log(f"no pixel in the training part: {', '.join(absent)}; nothing can be learned of that")
    return statistics

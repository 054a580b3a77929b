"""The train worker: from a job and its tiles to a bundle, through any number of interruptions."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from segbatch.errors import InputError, Interrupted, SegbatchError
from segbatch.models.bundle import save_bundle
from segbatch.models.decision import probabilities
from segbatch.models.dropout import set_dropout
from segbatch.models.trainable import set_trainable
from segbatch.models.weights import ensure_weights
from segbatch.runs.files import write_json
from segbatch.runs.progress import INTERVAL_S, TaskProgress
from segbatch.spec.bundle import BundleInfo, read_info
from segbatch.spec.job import TrainJob
from segbatch.training.animation import write_animation
from segbatch.training.assembly import make_steps, plain_model
from segbatch.training.basis import Basis, lay_basis
from segbatch.training.checkpoint import Checkpoint, Checkpoints
from segbatch.training.course import Course
from segbatch.training.distribution import Distribution, agreed, distribution
from segbatch.training.feed import Feed, Pair
from segbatch.training.history import write_curves, write_history, write_timing
from segbatch.training.identity import identity_of
from segbatch.training.loop import Loop, begin
from segbatch.training.peers import Peers
from segbatch.training.previews import Samples, write_preview
from segbatch.training.rejections import Rejections, limit_of
from segbatch.training.shares import Share
from segbatch.training.state import EpochRecord, TrainState
from segbatch.training.steps import assign, values_of
from segbatch.training.summary import bundle_info, duration, parameters, spell, summarize, verdict
from segbatch.training.tensorboard import FOLDER, EventLog
from segbatch.training.threshold import CURVE_FILE, measure_curve

Log = Callable[[str], None]
Names = tuple[Sequence[str], Sequence[str]]

CURVES_EVERY_S = 20.0
SUMMARY_FILE = "summary.json"


def train(
    job: TrainJob,
    train_pairs: Sequence[Pair],
    val_pairs: Sequence[Pair],
    names: Names,
    *,
    folder: Path,
    bundle: Path,
    progress_path: Path,
    stop: Callable[[], bool],
    provenance: dict[str, Any],
    start: Path | None = None,
    force: bool = False,
    peers: Peers | None = None,
    log: Log = print,
) -> dict[str, Any]:
    """Train a network, or go on where an earlier attempt was stopped; a finished training is left as it is.

    Args:
        job: what to train.
        train_pairs: paths of image and mask of the training part.
        val_pairs: the same of the validation part; where it is empty, training figures pick the best epoch.
        names: names of the tiles of both parts, in the order of their pairs.
        folder: checkpoints, history, curves, previews, rejected tiles and summary go here.
        bundle: folder of the bundle.
        progress_path: progress file of the task.
        stop: asked after every step whether to stop there.
        provenance: kept in the bundle.
        start: bundle whose weights training starts from.
        force: go on from a checkpoint although the job or its data were changed since.
        peers: the processes that train together; of them only the first writes and tells. None for one alone.
        log: told what goes on, line by line.

    Returns:
        The summary: best epoch and its scores, tiles, seconds, tiles a second.

    Raises:
        Interrupted: `stop` said so; a checkpoint holds all that was done.
        TooManyRejectedError: more tiles are unreadable than `train.max_rejected` allows.
        InputError: weights are missing, the network cannot be built as described, or the checkpoints in `folder`
            belong to another training.
        SegbatchError: training has diverged.
    """
    if job.train.deterministic:
        tf.config.experimental.enable_op_determinism()
    place = distribution(job.resources.gpus, peers, log)
    if not place.chief:
        log = _say_nothing
    ensure_weights(job.model)
    if not train_pairs:
        raise InputError("data: the training part has no tiles.")
    parts = {
        "train": _feed("train", train_pairs, names[0], job, place),
        "val": _feed("val", val_pairs, names[1], job, place),
    }
    folder.mkdir(parents=True, exist_ok=True)
    identity = identity_of(job, {part: feed.names for part, feed in parts.items()})
    keep = job.train.keep_checkpoints
    checkpoints = Checkpoints(folder / "checkpoints", identity, log, keep=keep, force=force, tidy=place.chief)
    with place.losses_told():
        found = _latest(checkpoints, place)
        summary = _finished(job, found, folder, bundle)
        if place.total(np.array([place.chief and summary is not None]))[0]:
            log(f"training is finished already: {verdict(summary)}" if summary else "")
            return summary or {}
        with place.chief_first():
            basis = lay_basis(job, parts["train"], identity, folder, progress_path, stop, log, tell=place.chief)
        training = _Training(job, parts, basis, checkpoints, found, folder, progress_path, stop, log, place, start)
        training.run()
        return training.finish(bundle, provenance)


def _say_nothing(line: str) -> None:
    pass


def _feed(part: str, pairs: Sequence[Pair], names: Sequence[str], job: TrainJob, place: Distribution) -> Feed:
    readers = job.train.readers or len(os.sched_getaffinity(0))
    share = Share(place.rank, place.processes, place.replicas) if place.processes > 1 else None
    return Feed(part, pairs, names, job, readers, share, place.total)


def _latest(checkpoints: Checkpoints, place: Distribution) -> Checkpoint | None:
    """The checkpoint to go on from, the same for all processes.

    Raises:
        SegbatchError: the processes find different ones.
    """
    with place.chief_first():
        found = checkpoints.latest()
    own = [0, 0] if found is None else [found.state["epoch"] + 1, found.state["position"] + 1]
    if not agreed(place.total(np.array(own)), place.processes, own):
        raise SegbatchError(
            f"{checkpoints.folder}: the processes of this training see different checkpoints there. Is the folder on a "
            "file system that all nodes share? If so, the next attempt may find it in order."
        )
    return found


def _finished(job: TrainJob, found: Checkpoint | None, folder: Path, bundle: Path) -> dict[str, Any] | None:
    if found is None or found.changed or not Course(job, TrainState.from_json(found.state), 1).finished:
        return None
    try:
        read_info(bundle)
        summary: dict[str, Any] = json.loads((folder / SUMMARY_FILE).read_bytes())
    except (InputError, OSError, ValueError):
        return None
    return summary


class _Training:
    """One attempt at a training."""

    def __init__(
        self,
        job: TrainJob,
        parts: dict[str, Feed],
        basis: Basis,
        checkpoints: Checkpoints,
        found: Checkpoint | None,
        folder: Path,
        progress_path: Path,
        stop: Callable[[], bool],
        log: Log,
        place: Distribution,
        start: Path | None,
    ) -> None:
        self._place = place
        self._job, self._parts, self._checkpoints, self._folder = job, parts, checkpoints, folder
        self._stop, self._log = stop, log
        self._tiles = sum(len(feed.pairs) for feed in parts.values())
        self._basis = basis
        if start is not None and found is None:
            log(f"training starts from the weights of {start}")
        self._steps = make_steps(job, basis, place, start if found is None else None)
        self._state = self._restored(found)
        self._course = Course(job, self._state, len(parts["train"].pairs))
        self._resume(found)
        limit = limit_of(job.train.max_rejected, self._tiles)
        self._rejections = Rejections(
            folder / "rejected.csv" if place.chief else None,
            limit,
            lambda part, index: parts[part].explain(index),
            self._state.rejected,
        )
        self._loop = Loop(
            self._steps, parts["train"], parts["val"], self._state, self._course, self._rejections, self._after_step
        )
        self._progress = TaskProgress(progress_path, total=self._course.planned * self._tiles)
        self._started, self._first_done = time.monotonic(), self._loop.done
        self._shown = self._saved = time.monotonic()
        self._drawn = -CURVES_EVERY_S
        if place.chief:
            self._events = EventLog(folder / FOLDER, job.labels.names, self._state.history, self._state.times)

    def run(self) -> None:
        """Run the epochs that are left."""
        job, state, course = self._job, self._state, self._course
        if not self._parts["val"].pairs and state.epoch == 0:
            self._log(f"no validation part: the best epoch is picked by its training {job.train.best}")
        self._tell(self._loop.done, note=self._note(), force=True)
        samples = None if course.finished or not self._place.chief else self._samples()
        while not course.finished:
            self._begin_epoch()
            train = self._loop.learn()
            with self._steps.averaged():
                record = self._loop.finish_epoch(train)
                self._keep(record)
                if self._place.chief:
                    self._report(record, samples)

    def _tell(self, done: int, **figures: Any) -> None:
        if self._place.chief:
            self._progress.update(done, **figures)

    def _begin_epoch(self) -> None:
        if self._course.advance():
            self._log(f"phase {self._course.number} of {self._course.phases}")
            self._arrange()
            if self._course.stretch.reset:
                self._steps.reset_optimizer()
        rate = self._course.dropout()
        if rate is not None:
            set_dropout(self._steps.model, rate)

    def _arrange(self) -> None:
        """Train what the running phase trains."""
        before = [id(variable) for variable in self._steps.model.trainable_variables]
        stretch = self._course.stretch
        set_trainable(self._steps.model, stretch.freeze, stretch.fine_tune_from)
        if [id(variable) for variable in self._steps.model.trainable_variables] != before:
            self._steps.retrain()

    def finish(self, bundle: Path, provenance: dict[str, Any]) -> dict[str, Any]:
        """Put the best epoch's weights into the bundle and write what is to be said of the whole."""
        state, job = self._state, self._job
        if state.best_epoch is None:
            raise RuntimeError("a training without an epoch")
        summary = summarize(job, state, {part: len(feed.pairs) for part, feed in self._parts.items()})
        summary["parameters"] = parameters(self._steps.model)
        if self._place.chief:
            self._write_outcome(bundle, provenance, summary)
        # The others wait for what the first process writes, and it serves their connections: all end together.
        self._place.part()
        self._log(f"training finished: {verdict(summary)}")
        return summary

    def _write_outcome(self, bundle: Path, provenance: dict[str, Any], summary: dict[str, Any]) -> None:
        assign(self._steps.model.variables, self._checkpoints.best(summary["best_epoch"]))
        origin = provenance | {"epoch": summary["best_epoch"], "scores": summary["scores"]}
        model = plain_model(self._job, self._steps)
        info = bundle_info(self._job, self._steps.loss.head, origin, self._basis)
        if self._job.train.threshold == "best_iou":
            info = self._with_threshold(model, info)
        save_bundle(bundle, model, info, self._basis.mean_image)
        self._write_tables(curves=True)
        self._events.close()
        write_animation(self._folder / "epochs.gif", self._folder / "previews", self._state.epoch)
        write_json(self._folder / SUMMARY_FILE, summary)
        self._tell(self._loop.done, note="finished", force=True, total=self._loop.done)

    def _with_threshold(self, model: keras.Model, info: BundleInfo) -> BundleInfo:
        self._tell(self._loop.done, note="choosing the threshold", force=True, total=self._loop.done)
        # Of several processes the others wait, and would take an interruption for the end.
        stop = self._stop if self._place.processes == 1 else lambda: False
        curve = measure_curve(model, info, self._basis.mean_image, self._parts["val"], stop)
        curve.write(self._folder / CURVE_FILE)
        best = curve.best()
        self._log(
            f"threshold {best.threshold:g}, of highest IoU on the validation part: "
            f"{spell(best.iou)}, with 0.5 {spell(best.iou_at_half)}"
        )
        return info.model_copy(update={"threshold": best.threshold, "best_iou": best})

    def _restored(self, found: Checkpoint | None) -> TrainState:
        if found is None:
            return begin(len(self._job.labels.scored))
        try:
            assign(self._steps.variables, found.arrays)
        except ValueError as error:
            why = "; ".join(found.changed) or "the job has not changed, so another version of segbatch wrote it"
            raise SegbatchError(
                f"{found.path}: the checkpoint does not fit the network and the optimiser that the job describes "
                f"({error}): {why}. Put that back, or submit the job as a new run."
            ) from error
        return TrainState.from_json(found.state)

    def _resume(self, found: Checkpoint | None) -> None:
        state, tiles = self._state, len(self._parts["train"].pairs)
        if found is not None and found.changed:
            self._course.rejudge()
            if any("part train" in change or "train.batch_size" in change for change in found.changed):
                # The order of samples is another one: the running epoch begins anew.
                state.position, state.learned, state.train_s = 0, 0, 0.0
                state.running = begin(len(self._job.labels.scored)).running
        self._arrange()
        if found is not None and not self._course.finished:
            where = f", after {state.position} of {tiles} tiles" if state.position else ""
            self._log(f"going on in epoch {state.epoch + 1} of {self._course.planned}{where}")

    def _after_step(self) -> None:
        now = time.monotonic()
        # Sums are read, checkpoints written and trainings stopped by all processes at the same step, or by none.
        wishes = [
            self._stop(),
            self._place.chief and now - self._shown >= INTERVAL_S,
            self._place.chief and now - self._saved >= 60 * self._job.train.checkpoint_minutes,
        ]
        stop, show, save = self._place.total(np.array(wishes)) > 0
        if show:
            self._shown = now
            running = self._loop.current().running.figures()
            self._tell(self._loop.done, note=self._note(), loss=running.loss)
        if stop:
            self._save()
            self._tell(self._loop.done, note="interrupted", force=True)
            self._place.part()
            raise Interrupted(
                f"Stopped in epoch {self._state.epoch + 1} of {self._course.planned}, after {self._state.position} "
                f"of {len(self._parts['train'].pairs)} tiles; `segbatch resume` goes on from there."
            )
        if save:
            self._save()

    def _save(self) -> None:
        state = self._loop.current()
        if self._place.chief:
            arrays = values_of(self._steps.variables)
            self._checkpoints.write(state.epoch, state.position, arrays, state.to_json(), state.best_epoch)
        self._saved = time.monotonic()

    def _keep(self, record: EpochRecord) -> None:
        if self._course.finish_epoch(record) and self._place.chief:
            self._checkpoints.write_best(record.epoch, values_of(self._steps.model.variables))
        self._save()

    def _report(self, record: EpochRecord, samples: Samples | None) -> None:
        self._log(self._epoch_line(record))
        judged = record.judged
        figures = {"loss": record.train.loss, "iou": judged.iou, "dice": judged.dice}
        total = self._course.planned * self._tiles
        self._tell(self._loop.done, note=self._note(), force=True, total=total, **figures)
        due = time.monotonic() - self._drawn >= CURVES_EVERY_S
        self._write_tables(curves=due)
        self._events.add(record)
        if samples is not None:
            self._draw(record.epoch, samples)

    def _write_tables(self, *, curves: bool) -> None:
        state, job = self._state, self._job
        write_history(self._folder / "history.csv", state.history, job.labels.names)
        write_timing(self._folder / "timing.csv", state.times)
        if curves:
            write_curves(self._folder / "curves.png", state.history, state.best_epoch, job.name)
            self._drawn = time.monotonic()

    def _samples(self) -> Samples | None:
        feed = self._parts["val"] if self._parts["val"].pairs else self._parts["train"]
        images, truths, names = feed.pick(self._job.train.previews)
        return Samples(images, truths, names, self._job.data.depth) if names else None

    def _draw(self, epoch: int, samples: Samples) -> None:
        shown = self._folder / "previews"
        shown.mkdir(exist_ok=True)
        size = self._job.train.batch_size
        logits = [self._steps.logits(samples.images[at : at + size]) for at in range(0, len(samples.images), size)]
        seen = probabilities(tf.concat(logits, axis=0), self._steps.loss.head, "logits").numpy()
        title = f"{self._job.name}, epoch {epoch} of {self._course.planned}"
        write_preview(shown / f"epoch-{epoch:04d}.png", samples, seen, self._job.labels, title)

    def _note(self) -> str:
        planned = self._course.planned
        return f"epoch {min(self._state.epoch + 1, planned)} of {planned}"

    def _epoch_line(self, record: EpochRecord) -> str:
        state, epochs = self._state, self._course.planned
        figures = [f"loss {spell(record.train.loss)}"]
        if record.val is not None:
            figures.append(f"val loss {spell(record.val.loss)}")
        prefix = "" if record.val is None else "val "
        figures += [f"{prefix}IoU {spell(record.judged.iou)}", f"{prefix}Dice {spell(record.judged.dice)}"]
        best = " (best)" if state.best_epoch == record.epoch else ""
        rate = f"{state.times[-1].rate:.1f} tiles/s"
        done = self._loop.done - self._first_done
        left = (epochs * self._tiles - self._loop.done) * (time.monotonic() - self._started) / max(done, 1)
        ending = f", {duration(left)} left" if record.epoch < epochs else ""
        return f"epoch {record.epoch}/{epochs}  {'  '.join(figures)}{best}  {rate}{ending}"

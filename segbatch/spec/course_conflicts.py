"""What in the course of a training contradicts the rest of a train job."""

from __future__ import annotations

from collections.abc import Iterator

from segbatch.spec.augmentation import unfit
from segbatch.spec.job import TrainJob
from segbatch.spec.loss_conflicts import counted
from segbatch.spec.metrics import class_of
from segbatch.spec.optimizer import Schedule
from segbatch.spec.problems import did_you_mean, listed
from segbatch.spec.section import Conflict, KeyPath


def course_conflicts(job: TrainJob) -> Iterator[Conflict]:
    """Yield metrics of classes that do not exist, thresholds without use, schedules that do not fit their phase,
    dropout without layers."""
    yield from _metrics(job)
    yield from _threshold(job)
    yield from _schedules(job)
    yield from _dropout(job)
    for number, phase in enumerate(job.phases):
        for position, message in unfit(phase.augment or (), job.data.bands, job.model.input):
            needs: tuple[KeyPath, ...] = (("data", "bands"), ("model", "input"))
            yield Conflict(("phases", number, "augment", position), message, needs)
    yield from _devices(job)


def _metrics(job: TrainJob) -> Iterator[Conflict]:
    metrics: dict[KeyPath, str | None] = {("train", "best"): job.train.best}
    if job.train.early_stop is not None:
        metrics["train", "early_stop", "metric"] = job.train.early_stop.metric
    metrics["optimizer", "schedule", "metric"] = job.optimizer.schedule.metric
    for position, phase in enumerate(job.phases):
        if phase.schedule is not None:
            metrics["phases", position, "schedule", "metric"] = phase.schedule.metric
    names = list(job.labels.names)
    for path, metric in metrics.items():
        name = class_of(metric) if metric is not None else None
        if name is not None and name not in names:
            message = f"these labels have no class {name!r} that counts.{did_you_mean(name, names)}"
            yield Conflict(path, f"{message} Expected one of: {listed(names, 'or')}.", (("labels",),))


def _threshold(job: TrainJob) -> Iterator[Conflict]:
    """A threshold that nothing is compared with, or that is to be chosen on nothing."""
    at: KeyPath = ("train", "threshold")
    if job.train.threshold == 0.5:
        return
    classes = len(job.labels.scored)
    if classes != 2:
        message = f"`threshold` is for two classes; these labels have {classes} that are not ignored"
        yield Conflict(at, message, counted(job.labels))
    elif job.loss.head(classes) != "binary":
        message = "`threshold` is for one channel; sparse_crossentropy gives each class its own. Take another loss"
        yield Conflict(at, message, (("loss",), *counted(job.labels)))
    split = job.data.split
    if job.train.threshold == "best_iou" and (split is None or not split.share("val")):
        message = "best_iou is chosen on the validation part: it needs a `data.split` that gives tiles to `val`"
        yield Conflict(at, message, (("data", "split"),))


def _schedules(job: TrainJob) -> Iterator[Conflict]:
    """Warm-ups and steps that lie beyond the end of their phase."""
    phases = list(zip(job.phases, job.phase_epochs, strict=False))
    whole: list[tuple[KeyPath, Schedule, int]] = []
    if not job.phases or any(phase.schedule is None for phase in job.phases):
        inherited = [epochs for phase, epochs in phases if phase.schedule is None]
        whole.append((("optimizer", "schedule"), job.optimizer.schedule, min(inherited, default=job.train.epochs)))
    for position, (phase, epochs) in enumerate(phases):
        if phase.schedule is not None:
            whole.append((("phases", position, "schedule"), phase.schedule, epochs))
    for path, schedule, epochs in whole:
        if schedule.warmup_epochs >= epochs:
            message = f"the warm-up takes {schedule.warmup_epochs:g} epochs of {epochs}; nothing would be left"
            yield Conflict((*path, "warmup_epochs"), message, (("train", "epochs"),))
        late = [epoch for epoch, _ in schedule.rates if epoch >= epochs]
        # A schedule that several phases share may be longer than the shortest of them.
        if late and (path[0] == "phases" or not job.phases):
            message = f"the rate from epoch {late[0]} on is never used: there are {epochs} epochs"
            yield Conflict((*path, "rates"), message, (("train", "epochs"),))


def _dropout(job: TrainJob) -> Iterator[Conflict]:
    if job.model.chosen == "unet" and not job.model.dropout:
        places: list[KeyPath] = [("train", "dropout")] if job.train.dropout is not None else []
        places += [("phases", number, "dropout") for number, phase in enumerate(job.phases) if phase.dropout]
        for place in places:
            message = "the network has no dropout layers: give `model.dropout` a rate above 0 too"
            yield Conflict(place, message, (("model", "dropout"), ("model", "architecture")))


def _devices(job: TrainJob) -> Iterator[Conflict]:
    """Batches that cannot be shared out, and what only one device can do."""
    train, resources = job.train, job.resources
    devices = resources.nodes * max(resources.gpus, 1)
    needs: tuple[KeyPath, ...] = (("resources", "nodes"), ("resources", "gpus"))
    if train.batch_size < devices:
        message = f"{train.batch_size} tiles cannot be shared by {devices} devices; take at least one for each"
        yield Conflict(("train", "batch_size"), message, needs)
    elif train.accumulate > -(-train.batch_size // devices):
        share = -(-train.batch_size // devices)
        message = f"a device's share of a batch has {share} tiles, which cannot be cut into {train.accumulate} parts"
        yield Conflict(("train", "accumulate"), message, (("train", "batch_size"), *needs))
    if train.xla == "on" and devices > 1:
        message = f"XLA compiles the step of one device; this job has {devices}"
        yield Conflict(("train", "xla"), message, needs)

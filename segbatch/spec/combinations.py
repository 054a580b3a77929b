"""Settings of different sections that are right one by one and impossible together."""

from __future__ import annotations

import os
from collections.abc import Iterator

from segbatch.spec.augmentation import unfit
from segbatch.spec.course_conflicts import course_conflicts
from segbatch.spec.data import Data, fixed_folder
from segbatch.spec.gate_job import GateJob
from segbatch.spec.job import EvaluateJob, Job, PredictJob, TrainJob
from segbatch.spec.loss_conflicts import loss_conflicts
from segbatch.spec.mask_rules import class_conflicts, counted_names
from segbatch.spec.notify import notices_conflicts
from segbatch.spec.passthrough import option_conflicts
from segbatch.spec.registered import unknown_names
from segbatch.spec.section import Conflict, KeyPath

KERAS_FILES = (".keras", ".h5", ".hdf5")
_PAIR: KeyPath = ("data", "pair", "by")
_SPLIT: KeyPath = ("data", "split")


def combinations(job: Job) -> Iterator[Conflict]:
    """Yield every impossible combination of a job's settings; sections speak for themselves (`Section.conflicts`).

    Paths are relative to the job. Nothing is read from disk.
    """
    if isinstance(job, GateJob):
        yield from option_conflicts(job.slurm)
        return
    yield from _folders_given(job)
    yield from _folders_apart(job)
    yield from _columns(job.data)
    yield from _parts(job)
    if isinstance(job, TrainJob):
        yield from _training(job)
    elif job.resources.nodes > 1:
        message = f"several nodes work together on train jobs only; this job is kind: {job.kind}"
        more = ", which `predict.tasks` cuts into tasks of one node" if isinstance(job, PredictJob) else ""
        yield Conflict(("resources", "nodes"), message + more)
    if isinstance(job, PredictJob):
        yield from _model_and_labels(job)
        yield from _windows(job)
    yield from option_conflicts(job.slurm)
    yield from notices_conflicts(job.notify)


def _folders_given(job: Job) -> Iterator[Conflict]:
    data = job.data
    if not isinstance(job, EvaluateJob):
        if data.images is None and data.image_list is None and data.pair.by != "csv":
            yield Conflict(
                ("data", "images"),
                f"a {job.kind} job needs `data.images`, the folder of the images",
                (_PAIR, ("data", "image_list")),
            )
        if data.predictions is not None:
            message = f"'data.predictions' belongs to kind: evaluate; this job is kind: {job.kind}"
            yield Conflict(("data", "predictions"), message)
    elif data.predictions is None:
        message = "an evaluate job needs `data.predictions`, such as {folder: path/of/predicted/masks}"
        yield Conflict(("data", "predictions"), message)
    if data.labelled is not None and not isinstance(job, TrainJob):
        message = f"'data.labelled' belongs to kind: train; this job is kind: {job.kind}"
        yield Conflict(("data", "labelled"), message)
    if data.new_since is not None and not isinstance(job, TrainJob):
        message = f"'data.new_since' belongs to kind: train; this job is kind: {job.kind}"
        yield Conflict(("data", "new_since"), message)
    if data.masks is None and not isinstance(job, PredictJob):
        article = "an" if isinstance(job, EvaluateJob) else "a"
        message = f"{article} {job.kind} job needs `data.masks`, the folder of the ground truth"
        yield Conflict(("data", "masks"), message)


def _folders_apart(job: Job) -> Iterator[Conflict]:
    data = job.data
    named = [("images", fixed_folder(text)) for text in data.image_sources()]
    named += [("masks", data.masks)] if data.masks is not None else []
    named += [("labelled", data.labelled)] if data.labelled is not None else []
    named += [("predictions", data.predictions.folder)] if data.predictions is not None else []
    folders = [(key, os.path.normpath(os.path.join(data.root, folder))) for key, folder in named]
    needs: dict[str, KeyPath] = {key: ("data", key) for key in (*dict(folders), "root")}
    masks = dict(folders).get("masks")
    if masks is not None and ("images", masks) in folders and data.pair.by == "stem":
        message = "images and masks are the same folder, where pairing by stem would take each image for its own mask"
        yield Conflict(("data", "masks"), f"{message}; pair by suffix or csv", (*needs.values(), _PAIR))
    if masks is not None and ("predictions", masks) in folders:
        message = "the predictions are the ground truth itself; name the folder of the predicted masks"
        yield Conflict(("data", "predictions", "folder"), message, tuple(needs.values()))
    labelled = dict(folders).get("labelled")
    for key in ("images", "masks"):
        if labelled is not None and (key, labelled) in folders:
            message = f"the labelled regions are the {key} themselves; name the folder of their masks"
            yield Conflict(("data", "labelled"), message, tuple(needs.values()))
    runs = os.path.normpath(job.output.runs) if job.output.runs else ""
    for key, folder in folders:
        if runs and _inside(runs, folder):
            message = f"runs cannot be written inside `data.{key}`, whose pictures they would become: {folder}"
            yield Conflict(("output", "runs"), message, (needs[key], needs["root"]))


def _inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _columns(data: Data) -> Iterator[Conflict]:
    if data.pair.by == "csv" or data.split is None:
        return
    if data.split.by == "column":
        message = "a split by column reads the pairing table: it needs `data.pair: {by: csv, file: ...}`"
        yield Conflict((*_SPLIT, "by"), message, (_PAIR,))
    if data.split.group is not None and data.split.group.column is not None:
        message = "`group.column` reads the pairing table: it needs `data.pair: {by: csv, file: ...}`"
        yield Conflict((*_SPLIT, "group", "column"), message, (_PAIR,))


def _parts(job: Job) -> Iterator[Conflict]:
    split, part = job.data.split, job.data.part
    keys = {"hash": "fractions", "counts": "counts"}
    if isinstance(job, TrainJob):
        if part is not None:
            message = "`data.part` is for predict and evaluate jobs; a train job uses the parts train and val"
            yield Conflict(("data", "part"), message)
        if split is not None and not split.share("train"):
            yield Conflict((*_SPLIT, keys.get(split.by, "parts")), "the split gives no tiles to train on", (_SPLIT,))
    elif part is not None and split is None:
        yield Conflict(("data", "part"), f"`part: {part}` needs a `data.split` that says what is in it", (_SPLIT,))
    elif part is not None and split is not None and not split.share(part):
        yield Conflict(("data", "part"), f"the split gives no tiles to `part: {part}`", (_SPLIT,))


def _training(job: TrainJob) -> Iterator[Conflict]:
    for conflict in unknown_names(job.model):
        yield Conflict(("model", *conflict.at), conflict.message)
    if job.model.weights == "imagenet" and job.data.bands != 3:
        message = f"ImageNet weights are for images of 3 bands, not of {job.data.bands}"
        yield Conflict(("model", "weights"), message, (("data", "bands"),))
    if job.model.normalize == "imagenet" and job.data.bands != 3:
        message = f"ImageNet's mean and deviation are of 3 bands, not of {job.data.bands}"
        yield Conflict(("model", "normalize"), message, (("data", "bands"),))
    yield from loss_conflicts(job.loss, job.labels, labelled=job.data.labelled is not None)
    for position, message in unfit(job.augment, job.data.bands, job.model.input):
        needs: tuple[KeyPath, ...] = (("data", "bands"), ("model", "input"))
        yield Conflict(("augment", position), message, needs)
    yield from course_conflicts(job)


def _model_and_labels(job: PredictJob) -> Iterator[Conflict]:
    where: KeyPath = ("model", "bundle")
    if not job.model.bundle.lower().endswith(KERAS_FILES):
        if job.labels is not None:
            yield Conflict(("labels",), "`labels` are for Keras files; a bundle has its own", (where,))
        for key in job.model.given("normalize", "output"):
            if getattr(job.model, key) == type(job.model).model_fields[key].default:
                continue
            yield Conflict(("model", key), f"`{key}` is for Keras files; a bundle says it itself", (where,))
    elif job.labels is None:
        message = (
            "a Keras file does not say what its channels mean: it needs `labels`, a built-in name or a labels file"
        )
        yield Conflict(where, message, (("labels",),))
    else:
        for conflict in class_conflicts(job.predict, job.labels):
            yield Conflict(("predict", *conflict.at), conflict.message, counted_names(job.labels))
        if job.predict.threshold == "best_iou":
            message = "a Keras file has no threshold that training chose; give a number"
            yield Conflict(("predict", "threshold"), message, (where,))


def _windows(job: PredictJob) -> Iterator[Conflict]:
    window, size = job.predict.window, job.data.size
    if window is not None and size is not None and window > min(size):
        message = (
            f"the window of {window} pixels is larger than the tiles, which `data.size` says are {size[0]}x{size[1]}"
        )
        yield Conflict(("predict", "window"), message, (("data", "size"), ("predict", "fit")))

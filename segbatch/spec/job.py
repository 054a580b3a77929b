"""A job: one YAML file, validated and frozen."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from segbatch.spec.augmentation import Augment
from segbatch.spec.course import Phases, Train
from segbatch.spec.data import Data
from segbatch.spec.inference import Predict, Report, TrainedModel
from segbatch.spec.keep import Keep
from segbatch.spec.labels import Labels
from segbatch.spec.loss import Loss
from segbatch.spec.network import Model
from segbatch.spec.notify import Notices
from segbatch.spec.optimizer import Optimizer
from segbatch.spec.resources import Container, FinishResources, Output, Resources, Retries
from segbatch.spec.schedule import Schedule
from segbatch.spec.section import Expected, Section


def _as_bundle(value: object) -> object:
    return {"bundle": value} if isinstance(value, str) else value


NamedLabels = Annotated[Labels, Expected("a built-in name, the path of a labels file, or a mapping")]


class Common(Section):
    """What every kind of job has."""

    name: Annotated[
        str,
        Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"),
        Expected("a name of up to 100 letters, digits, '.', '_' and '-' that begins with a letter or digit"),
    ]
    """Name of the job and of the folder of its runs. Defaults to the job file's name."""
    data: Data
    """Images and masks."""
    resources: Resources = Resources()
    """What one task needs."""
    finish: FinishResources = FinishResources()
    """What the job on a cluster that merges and reports needs."""
    retries: Retries = Retries()
    """How often a task is tried again on a cluster."""
    container: Container = Container()
    """The image that tasks run in."""
    output: Output = Output()
    """Where results go."""
    report: Report = Report()
    """What the report shows."""
    schedule: Schedule | None = None
    """When it starts by itself, once `segbatch schedule add` was said."""
    notify: Notices = ()
    """Who is told when a run ends. Defaults to those of the site."""
    keep: Keep | None = None
    """What `segbatch prune` leaves of its runs. Defaults to what the site says, else to everything."""
    profile: str | None = None
    """Part of the site file that this job uses."""
    slurm: dict[str, str | int | bool] = {}
    """Further sbatch options, passed on as they are."""
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    """Seed of everything random."""


class TrainJob(Common):
    """Train a network and keep it as a bundle."""

    kind: Literal["train"]
    """What the job does."""
    labels: NamedLabels
    """The classes: a built-in name, a labels file, or given here."""
    model: Model = Model()
    """The network."""
    loss: Loss = Loss()
    """What training minimises."""
    optimizer: Optimizer = Optimizer()
    """How weights are updated."""
    train: Train = Train()
    """The course of training."""
    augment: Augment = ()
    """Changes made to training samples: a list of operations, in order, or `basic` (hue), `advanced` (hue, brightness,
    contrast) or `bad` (both flips)."""
    phases: Phases = ()
    """Stretches of epochs, one after the other, each with what differs in it. Defaults to one, as the job says."""


class PredictJob(Common):
    """Write a mask for every tile, and score them where there is truth."""

    kind: Literal["predict"]
    """What the job does."""
    model: Annotated[
        TrainedModel,
        BeforeValidator(_as_bundle, json_schema_input_type=TrainedModel | str),
        Expected("the path of a bundle folder or Keras file, or a mapping"),
    ]
    """The model: a bundle folder, or a Keras file."""
    labels: NamedLabels | None = None
    """The classes; only for Keras files, since a bundle has its own."""
    predict: Predict = Predict()
    """How masks are made."""


class EvaluateJob(Common):
    """Score masks that exist against ground truth; no model is needed."""

    kind: Literal["evaluate"]
    """What the job does."""
    labels: NamedLabels
    """The classes: a built-in name, a labels file, or given here."""


Job = TrainJob | PredictJob | EvaluateJob
KINDS: dict[str, type[TrainJob] | type[PredictJob] | type[EvaluateJob]] = {
    "train": TrainJob,
    "predict": PredictJob,
    "evaluate": EvaluateJob,
}


def to_plain(job: Job) -> dict[str, Any]:
    """Return the job as plain YAML-able values, without settings left at their defaults."""
    plain = job.model_dump(mode="json", exclude_defaults=True) | {"kind": job.kind, "name": job.name}
    if "runtime" in job.container.model_fields_set:
        # Said aloud, even the default switches off the site's container.
        plain.setdefault("container", {})["runtime"] = job.container.runtime
    return plain

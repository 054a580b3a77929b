"""A job: one YAML file, validated and frozen."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from segbatch.spec.augmentation import Augment
from segbatch.spec.common import Common
from segbatch.spec.course import Phases, Train
from segbatch.spec.gate_job import GateJob
from segbatch.spec.inference import Predict, TrainedModel
from segbatch.spec.labels import Labels
from segbatch.spec.loss import Loss
from segbatch.spec.network import Model
from segbatch.spec.optimizer import Optimizer
from segbatch.spec.section import Expected


def _as_bundle(value: object) -> object:
    return {"bundle": value} if isinstance(value, str) else value


NamedLabels = Annotated[Labels, Expected("a built-in name, the path of a labels file, or a mapping")]


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

    @property
    def phase_epochs(self) -> tuple[int, ...]:
        """Epochs of each phase, in order, unless it is stopped early; a job without phases is one phase."""
        return tuple(phase.epochs or self.train.epochs for phase in self.phases) or (self.train.epochs,)


class PredictJob(Common):
    """Write a mask for every tile, and score them where there is truth."""

    kind: Literal["predict"]
    """What the job does."""
    model: Annotated[
        TrainedModel,
        BeforeValidator(_as_bundle, json_schema_input_type=TrainedModel | str),
        Expected("the path of a bundle folder or Keras file, a registered model (forest@champion), or a mapping"),
    ]
    """The model: a bundle folder, a registered model, or a Keras file."""
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


Job = TrainJob | PredictJob | EvaluateJob | GateJob
KINDS: dict[str, type[TrainJob] | type[PredictJob] | type[EvaluateJob] | type[GateJob]] = {
    "train": TrainJob,
    "predict": PredictJob,
    "evaluate": EvaluateJob,
    "gate": GateJob,
}


def to_plain(job: Job) -> dict[str, Any]:
    """Return the job as plain YAML-able values, without settings left at their defaults."""
    plain = job.model_dump(mode="json", exclude_defaults=True) | {"kind": job.kind, "name": job.name}
    if "runtime" in job.container.model_fields_set:
        # Said aloud, even the default switches off the site's container.
        plain.setdefault("container", {})["runtime"] = job.container.runtime
    return plain

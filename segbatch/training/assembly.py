"""From a job to the steps that train it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import keras

from segbatch.models.build import build
from segbatch.models.start import take_weights
from segbatch.models.trainable import set_trainable
from segbatch.spec.job import TrainJob
from segbatch.training.basis import Basis
from segbatch.training.distribution import Distribution
from segbatch.training.losses import make_loss
from segbatch.training.optimizers import make_optimizer
from segbatch.training.phases import stretches
from segbatch.training.steps import Steps, assign, values_of


def make_steps(job: TrainJob, basis: Basis, distribution: Distribution, start: Path | None = None) -> Steps:
    """Build the network, its loss and its optimiser, as a job describes them; the first phase is set up.

    Args:
        job: the job.
        basis: what its training part says: class weights and normalisation.
        distribution: the devices.
        start: bundle whose weights the network begins with; None for those of the job.

    Raises:
        InputError: the network cannot be built as described, or is not the bundle's.
    """
    classes = len(job.labels.scored)
    loss = make_loss(job.loss, classes, basis.weights)
    with distribution.strategy.scope(), _computing_in(job.train.precision):
        model = build(job.model, bands=job.data.bands, channels=loss.channels, seed=job.seed)
        optimizer = make_optimizer(job.optimizer)
    if start is not None:
        take_weights(model, start)
    distribution.prepare(model)
    return Steps(
        model,
        loss,
        optimizer,
        normalize=basis.normalization,
        classes=classes,
        trained=_ever_trained(model, job),
        clip=job.optimizer.clip,
        ema=job.optimizer.ema,
        parts=job.train.accumulate,
        scaled=job.train.precision == "mixed_float16",
        jit=job.train.xla == "on",
        strategy=distribution.strategy,
    )


@contextmanager
def _computing_in(precision: str) -> Iterator[None]:
    """Make layers that compute in a type, their weights being float32."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def plain_model(job: TrainJob, steps: Steps) -> keras.Model:
    """The network as predicting wants it, with the weights that `steps.model` has: in float32, for one device."""
    if steps.replicas == 1 and job.train.precision == "float32":
        return steps.model
    model = build(job.model, bands=job.data.bands, channels=steps.loss.channels, seed=job.seed)
    assign(model.variables, values_of(steps.model.variables))
    return model


def _ever_trained(model: keras.Model, job: TrainJob) -> list[keras.Variable]:
    """The weights that some phase trains; the model is left as the first phase trains it.

    The optimiser has slots for all of them from the start, so that checkpoints of all phases have one form.
    """
    trained: set[int] = set()
    for stretch in reversed(stretches(job)):
        set_trainable(model, stretch.freeze, stretch.fine_tune_from)
        trained |= {id(variable) for variable in model.trainable_variables}
    return [variable for variable in model.variables if id(variable) in trained]

"""From a job to the steps that train it."""

from __future__ import annotations

import keras
import tensorflow as tf

from segbatch.models.build import build
from segbatch.models.trainable import set_trainable
from segbatch.spec.job import TrainJob
from segbatch.training.basis import Basis
from segbatch.training.losses import make_loss
from segbatch.training.optimizers import make_optimizer
from segbatch.training.phases import stretches
from segbatch.training.steps import Steps


def make_steps(job: TrainJob, basis: Basis) -> Steps:
    """Build the network, its loss and its optimiser, as a job describes them; the first phase is set up.

    Args:
        job: the job.
        basis: what its training part says: class weights and normalisation.

    Raises:
        InputError: the network cannot be built as described.
    """
    if job.train.deterministic:
        tf.config.experimental.enable_op_determinism()
    classes = len(job.labels.scored)
    loss = make_loss(job.loss, classes, basis.weights)
    model = build(job.model, bands=job.data.bands, channels=loss.channels, seed=job.seed)
    return Steps(
        model,
        loss,
        make_optimizer(job.optimizer),
        normalize=basis.normalization,
        classes=classes,
        trained=_ever_trained(model, job),
        clip=job.optimizer.clip,
        ema=job.optimizer.ema,
    )


def _ever_trained(model: keras.Model, job: TrainJob) -> list[keras.Variable]:
    """The weights that some phase trains; the model is left as the first phase trains it.

    The optimiser has slots for all of them from the start, so that checkpoints of all phases have one form.
    """
    trained: set[int] = set()
    for stretch in reversed(stretches(job)):
        set_trainable(model, stretch.freeze, stretch.fine_tune_from)
        trained |= {id(variable) for variable in model.trainable_variables}
    return [variable for variable in model.variables if id(variable) in trained]

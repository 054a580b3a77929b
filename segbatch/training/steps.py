"""The compiled steps of a training: one for learning, one for validation, one for looking.

They are plain functions of a batch, run through a `tf.distribute` strategy: on one device the default strategy, which
does nothing. The loss of a step is divided by the weight of the whole step, over all devices, and gradients add up over
devices, so that the same global batch gives the same update on any number of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from segbatch.data.normalize import Normalization
from segbatch.models.decision import decide
from segbatch.training.losses import Loss, mean
from segbatch.training.metrics import Tally


class Steps:
    """A model, its loss and its optimiser, with what they have summed up.

    Args:
        model: image [b, h, w, bands] to logits.
        loss: what is minimised.
        optimizer: how weights are updated.
        normalize: how the images are normalised.
        classes: number of classes.
        strategy: where the steps run. Defaults to the strategy in scope.

    The steps take `image` float32 [b, h, w, bands], not normalised, and `truth` uint8 [b, h, w]; b may change from
    call to call without compiling again.
    """

    def __init__(
        self,
        model: keras.Model,
        loss: Loss,
        optimizer: keras.optimizers.Optimizer,
        *,
        normalize: Normalization,
        classes: int,
        strategy: tf.distribute.Strategy | None = None,
    ) -> None:
        self.model, self.loss, self.optimizer = model, loss, optimizer
        self._normalize = normalize
        self._strategy = strategy or tf.distribute.get_strategy()
        with self._strategy.scope():
            optimizer.build(model.trainable_variables)
            self.training, self.validation = Tally(classes), Tally(classes)
        image = tf.TensorSpec(model.input_shape, tf.float32, name="image")
        truth = tf.TensorSpec(model.input_shape[:3], tf.uint8, name="truth")
        self.learn = tf.function(self._learn, input_signature=[image, truth], autograph=False)
        self.validate = tf.function(self._validate, input_signature=[image, truth], autograph=False)
        self.logits = tf.function(self._logits, input_signature=[image], autograph=False)

    @property
    def variables(self) -> list[keras.Variable]:
        """All that a resumed training needs: weights, statistics, random states, the optimiser's slots."""
        return [*self.model.variables, *self.optimizer.variables]

    @property
    def learning_rate(self) -> float:
        """Step size now, as short as its single precision allows."""
        return float(str(np.float32(self.optimizer.learning_rate.numpy())))

    def _learn(self, image: tf.Tensor, truth: tf.Tensor) -> None:
        self._strategy.run(self._learn_on_replica, args=(image, truth))

    def _validate(self, image: tf.Tensor, truth: tf.Tensor) -> None:
        self._strategy.run(self._validate_on_replica, args=(image, truth))

    def _logits(self, image: tf.Tensor) -> tf.Tensor:
        """float32 [b, h, w, channels], as in prediction."""
        return tf.cast(self.model(self._normalize(image), training=False), tf.float32)

    def _learn_on_replica(self, image: tf.Tensor, truth: tf.Tensor) -> None:
        variables = self.model.trainable_variables
        with tf.GradientTape() as tape:
            logits = self.model(self._normalize(image), training=True)
            part = self.loss(truth, logits)
            everywhere = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, part.weight)
            value = mean(part.total, everywhere)
        gradients = tape.gradient(value, [variable.value for variable in variables])
        self.optimizer.apply(gradients, variables)
        self.training.add(part, truth, self._classes(logits))

    def _validate_on_replica(self, image: tf.Tensor, truth: tf.Tensor) -> None:
        logits = self._logits(image)
        self.validation.add(self.loss(truth, logits), truth, self._classes(logits))

    def _classes(self, logits: tf.Tensor) -> tf.Tensor:
        return decide(tf.cast(logits, tf.float32), self.loss.head, "logits", 0.5)


def values_of(variables: Sequence[keras.Variable]) -> list[NDArray[np.generic]]:
    """Copy variables out, in order."""
    return [np.asarray(variable.numpy()) for variable in variables]


def assign(variables: Sequence[keras.Variable], values: Sequence[NDArray[np.generic]]) -> None:
    """Put values back, in order.

    Raises:
        ValueError: their number, a shape or a type differs; nothing has been changed then.
    """
    have = [(tuple(variable.shape), keras.backend.standardize_dtype(variable.dtype)) for variable in variables]
    come = [(value.shape, value.dtype.name) for value in values]
    if have != come:
        different = sum(a != b for a, b in zip(have, come, strict=False))
        raise ValueError(f"{len(come)} values for {len(have)} variables, {different} of another shape or type")
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)

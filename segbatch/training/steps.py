"""The compiled steps of a training: one for learning, one for validation, one for looking.

They are functions of a batch, run through a `tf.distribute` strategy: on one device the default strategy, which does
nothing. Every replica takes its slice of the batch, in parts where the job says so. The gradient of a step is that of
the loss over the whole batch: totals and weights add up over parts and replicas before the division, so that the same
batch gives the same update however it was cut. Clipping and the check for overflow look at that gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from segbatch.data.normalize import Normalization
from segbatch.models.decision import decide
from segbatch.spec.optimizer import Clip
from segbatch.training.averages import Averages
from segbatch.training.losses import Loss, LossSum, mean
from segbatch.training.metrics import Tally
from segbatch.training.scaling import LossScale
from segbatch.training.slices import of_part, of_replica

Gradients = list[tf.Tensor]


class Steps:
    """A model, its loss and its optimiser, with what they have summed up.

    Args:
        model: image [b, h, w, bands] to logits.
        loss: what is minimised.
        optimizer: how weights are updated; built here.
        normalize: how the images are normalised.
        classes: number of classes.
        trained: the weights that are trained at any time; those that are trained now if None.
        clip: bounds on the gradient.
        ema: momentum of the weights' moving average; None for none.
        parts: parts that a replica's slice is computed in, one after the other.
        scaled: whether the loss is scaled, as float16 needs it.
        jit: whether forward and backward pass are compiled by XLA.
        strategy: where the steps run. Defaults to the strategy in scope.

    The steps take `image` float32 [b, h, w, bands], not normalised, and `truth` uint8 [b, h, w]: what this process has
    of a batch; and `slots` int32, the number of samples of the batch over all processes. b may change from call to call
    without compiling again.
    """

    def __init__(
        self,
        model: keras.Model,
        loss: Loss,
        optimizer: keras.optimizers.Optimizer,
        *,
        normalize: Normalization,
        classes: int,
        trained: Sequence[keras.Variable] | None = None,
        clip: Clip | None = None,
        ema: float | None = None,
        parts: int = 1,
        scaled: bool = False,
        jit: bool = False,
        strategy: tf.distribute.Strategy | None = None,
    ) -> None:
        self.model, self.loss, self.optimizer = model, loss, optimizer
        self._normalize = normalize
        self._clip, self._parts, self._jit = clip or Clip(), parts, jit
        self._strategy = strategy or tf.distribute.get_strategy()
        self._trained = model.trainable_variables if trained is None else list(trained)
        with self._strategy.scope():
            optimizer.build(self._trained)
            self.training, self.validation = Tally(classes), Tally(classes)
            self._scale = LossScale() if scaled else None
            self._averages = None if ema is None else Averages(model.weights, ema, self._strategy)
        if self._strategy.num_replicas_in_sync > 1:
            # Gradients are summed up here, before they are clipped; the optimiser would do it a second time.
            optimizer._all_reduce_sum_gradients = list
        self._rate: float | None = None
        image = tf.TensorSpec(model.input_shape, tf.float32, name="image")
        truth = tf.TensorSpec(model.input_shape[:3], tf.uint8, name="truth")
        self._signature = [image, truth, tf.TensorSpec((), tf.int32, name="slots")]
        self.retrain()
        self._validation = tf.function(self._validate, input_signature=self._signature, autograph=False)
        self.logits = tf.function(self._logits, input_signature=[image], autograph=False)

    def retrain(self) -> None:
        """Compile the learning step anew, after it was changed which weights are trained."""
        self._forward = tf.function(self._part, jit_compile=True, autograph=False) if self._jit else self._part
        self._learning = tf.function(self._learn, input_signature=self._signature, autograph=False)

    def learn(self, image: tf.Tensor, truth: tf.Tensor, slots: int | None = None) -> None:
        """Make one step; `slots` defaults to the samples given."""
        self._learning(image, truth, tf.constant(len(image) if slots is None else slots, tf.int32))

    def validate(self, image: tf.Tensor, truth: tf.Tensor, slots: int | None = None) -> None:
        """Look at one batch of the validation part; `slots` defaults to the samples given."""
        self._validation(image, truth, tf.constant(len(image) if slots is None else slots, tf.int32))

    @property
    def variables(self) -> list[keras.Variable]:
        """All that a resumed training needs: weights, statistics, random states, the optimiser's slots, averages."""
        scale = self._scale.variables if self._scale else []
        have = [*self.model.variables, *self.optimizer.variables, *scale]
        return self._averages.in_place(have) if self._averages else have

    @property
    def replicas(self) -> int:
        """Devices that the steps run on."""
        return int(self._strategy.num_replicas_in_sync)

    @property
    def learning_rate(self) -> float:
        """Step size now, as short as its single precision allows."""
        return float(str(np.float32(self.optimizer.learning_rate.numpy())))

    def set_learning_rate(self, rate: float) -> None:
        """Set the size of the next steps."""
        # Not compared with the variable's value: to read it would wait for the device at every step.
        if rate != self._rate:
            self.optimizer.learning_rate = self._rate = rate

    def reset_optimizer(self) -> None:
        """Forget momenta and the like, as if no step had been made."""
        with self._strategy.scope():
            fresh = type(self.optimizer).from_config(self.optimizer.get_config())
            fresh.build(self._trained)
        assign(self.optimizer.variables, values_of(fresh.variables))
        self._rate = None

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Let the model have the averaged weights, where there are any."""
        if self._averages is None:
            yield
            return
        self._averages.exchange()
        try:
            yield
        finally:
            self._averages.exchange()

    def _learn(self, image: tf.Tensor, truth: tf.Tensor, slots: tf.Tensor) -> None:
        gradients = self._strategy.run(self._gradients, args=(image, truth, slots))
        if self._scale is None:
            self._update(gradients)
            return
        finite = self._strategy.experimental_local_results(self._strategy.run(_all_finite, args=(gradients,)))[0]
        tf.cond(finite, lambda: self._scaled_update(gradients), self._scale.after_overflow)

    def _scaled_update(self, gradients: Any) -> None:
        assert self._scale is not None
        self._update(gradients)
        self._scale.after_good_step()

    def _update(self, gradients: Any) -> None:
        self._strategy.run(self._apply, args=(gradients,))
        if self._averages is not None:
            self._averages.update()

    def _apply(self, gradients: Gradients) -> None:
        self.optimizer.apply(clipped(gradients, self._clip), self.model.trainable_variables)

    def _gradients(self, image: tf.Tensor, truth: tf.Tensor, slots: tf.Tensor) -> Gradients:
        """The whole batch's gradient, the same on every replica."""
        variables = self.model.trainable_variables
        nothing = [tf.zeros(variable.shape, tf.float32) for variable in variables]

        def add(image: tf.Tensor, truth: tf.Tensor, weight: tf.Tensor, *sums: tf.Tensor) -> tuple[tf.Tensor, ...]:
            gradients, part, everywhere, classes = self._forward(image, truth)
            self.training.add(LossSum(*part), truth, classes)
            share = tf.cast(everywhere, tf.float32)
            added = [have + tf.cast(new, tf.float32) * share for have, new in zip(sums, gradients, strict=True)]
            return weight + everywhere, *added

        weight, *gradients = self._in_parts(add, image, truth, slots, (tf.zeros((), tf.float64), *nothing))
        gradients = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        factor = tf.math.divide_no_nan(1.0, tf.cast(weight, tf.float32))
        return [tf.cast(one * factor, variable.dtype) for one, variable in zip(gradients, variables, strict=True)]

    def _part(self, image: tf.Tensor, truth: tf.Tensor) -> tuple[Gradients, LossSum, tf.Tensor, tf.Tensor]:
        """What one part adds to the gradient of its mean loss over all replicas.

        Returns:
            That gradient; this replica's loss; its weight over all replicas; and the classes seen.
        """
        variables = self.model.trainable_variables
        scale = self._scale.scale.value if self._scale else None
        with tf.GradientTape() as tape:
            logits = self.model(self._normalize(image), training=True)
            part = self.loss(truth, logits)
            # Synchronized normalisation carries gradients from replica to replica: all divide by the same number.
            everywhere = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, part.weight)
            value = mean(part.total, everywhere)
            value = value if scale is None else value * scale
        gradients = tape.gradient(value, [variable.value for variable in variables], unconnected_gradients="zero")
        if scale is not None:
            gradients = [gradient / tf.cast(scale, gradient.dtype) for gradient in gradients]
        return gradients, part, everywhere, self._classes(logits)

    def _validate(self, image: tf.Tensor, truth: tf.Tensor, slots: tf.Tensor) -> None:
        self._strategy.run(self._validate_on_replica, args=(image, truth, slots))

    def _validate_on_replica(self, image: tf.Tensor, truth: tf.Tensor, slots: tf.Tensor) -> None:
        def add(image: tf.Tensor, truth: tf.Tensor) -> tuple[tf.Tensor, ...]:
            logits = self._logits(image)
            self.validation.add(self.loss(truth, logits), truth, self._classes(logits))
            return ()

        self._in_parts(add, image, truth, slots, ())

    def _logits(self, image: tf.Tensor) -> tf.Tensor:
        """float32 [b, h, w, channels], as in prediction."""
        return tf.cast(self.model(self._normalize(image), training=False), tf.float32)

    def _classes(self, logits: tf.Tensor) -> tf.Tensor:
        return decide(tf.cast(logits, tf.float32), self.loss.head, "logits", 0.5)

    def _in_parts(
        self,
        work: Callable[..., tuple[tf.Tensor, ...]],
        image: tf.Tensor,
        truth: tf.Tensor,
        slots: tf.Tensor,
        start: tuple[tf.Tensor, ...],
    ) -> tuple[tf.Tensor, ...]:
        """Do some work on each part of this replica's slice; `start` goes through it as sums do."""
        image, truth = (of_replica(values, slots, self._strategy) for values in (image, truth))
        if self._parts == 1:
            return work(image, truth, *start)
        most = -(-slots // self._strategy.num_replicas_in_sync)
        count = tf.minimum(self._parts, most)

        def body(number: tf.Tensor, *sums: tf.Tensor) -> tuple[tf.Tensor, ...]:
            return number + 1, *work(*of_part(image, truth, number, count), *sums)

        done: tuple[tf.Tensor, ...] = (tf.zeros((), tf.int32), *start)
        if self._strategy.num_replicas_in_sync == 1:
            return tuple(tf.while_loop(lambda number, *_: number < count, body, done, parallel_iterations=1))[1:]
        # Replicas cannot wait for each other within a loop of the graph.
        for _ in range(self._parts):
            done = body(*done)
        return done[1:]


def clipped(gradients: Gradients, clip: Clip) -> Gradients:
    """Bring gradients within their bounds, by norm, by value, or by the norm of all of them."""
    if clip.norm is not None:
        return [tf.clip_by_norm(gradient, clip.norm) for gradient in gradients]
    if clip.value is not None:
        return [tf.clip_by_value(gradient, -clip.value, clip.value) for gradient in gradients]
    if clip.global_norm is not None:
        return list(tf.clip_by_global_norm(gradients, clip.global_norm)[0])
    return gradients


def _all_finite(gradients: Gradients) -> tf.Tensor:
    return tf.reduce_all([tf.reduce_all(tf.math.is_finite(gradient)) for gradient in gradients])


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

"""An exponential moving average of a network's weights."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf


class Averages:
    """Averages of weights and of normalisation's statistics; to be made under the strategy's scope.

    After update t (from 0), average = d average + (1 - d) weight with d = min(momentum, (1 + t) / (10 + t)), so that
    short trainings do not keep their random beginning (the rule of TensorFlow's ExponentialMovingAverage).

    Args:
        weights: of the network, all of them.
        momentum: from 0 to below 1.
        strategy: where the network is.
    """

    def __init__(self, weights: Sequence[keras.Variable], momentum: float, strategy: tf.distribute.Strategy) -> None:
        self._momentum, self._strategy = momentum, strategy
        # Scalars are settings, such as the rate of dropout.
        self._weights = [weight for weight in weights if "float" in weight.dtype and len(weight.shape)]
        self._averages = [
            keras.Variable(np.asarray(weight.numpy()), dtype=weight.dtype, trainable=False, name=f"average_{number}")
            for number, weight in enumerate(self._weights)
        ]
        self._updates = keras.Variable(0, dtype="int64", trainable=False, name="averaged_steps")
        self._exchanged = False

    def update(self) -> None:
        """Take in the weights of a step; inside a graph, outside of replicas."""
        updates = tf.cast(self._updates.value, tf.float32)
        decay = tf.minimum(self._momentum, (1 + updates) / (10 + updates))

        def take_in(average: tf.Variable, weight: tf.Tensor) -> None:
            average.assign_sub((average - weight) * tf.cast(1 - decay, average.dtype))

        for average, weight in zip(self._averages, self._weights, strict=True):
            self._strategy.extended.update(average.value, take_in, args=(weight.value,), group=False)
        self._updates.value.assign_add(1)

    def exchange(self) -> None:
        """Put the averages where the weights are, and the weights where the averages are."""
        for average, weight in zip(self._averages, self._weights, strict=True):
            value = np.array(weight.numpy())
            weight.assign(average.numpy())
            average.assign(value)
        self._exchanged = not self._exchanged

    def in_place(self, variables: Sequence[keras.Variable]) -> list[keras.Variable]:
        """The variables that hold what `variables`, and then this object's own, do when nothing is exchanged."""
        own = [*self._averages, self._updates]
        if not self._exchanged:
            return [*variables, *own]
        other = {id(one): two for one, two in zip(self._weights, self._averages, strict=True)}
        other |= {id(two): one for one, two in zip(self._weights, self._averages, strict=True)}
        return [other.get(id(variable), variable) for variable in (*variables, *own)]

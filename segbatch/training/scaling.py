"""The loss scale of float16: keeps small gradients above what the type can hold, and large ones below.

Micikevicius et al. 2018 (arXiv:1710.03740): the loss is multiplied by the scale before the backward pass and gradients
are divided by it. A step whose gradients are not finite is left out and halves the scale; 2,000 good steps in a row
double it.
"""

from __future__ import annotations

import keras
import tensorflow as tf

START = 2.0**15
GROWTH_STEPS = 2000


class LossScale:
    """The scale and the steps since it last changed, in variables; to be made under the strategy's scope."""

    def __init__(self) -> None:
        self.scale = keras.Variable(START, dtype="float32", trainable=False, name="loss_scale")
        self.good_steps = keras.Variable(0, dtype="int64", trainable=False, name="good_steps")

    @property
    def variables(self) -> list[keras.Variable]:
        """What a checkpoint needs."""
        return [self.scale, self.good_steps]

    def after_good_step(self) -> None:
        """Count a step that was made; inside a graph, outside of replicas."""
        steps = self.good_steps.value + 1
        grown = steps >= GROWTH_STEPS
        self.scale.value.assign(tf.where(grown, self.scale.value * 2, self.scale.value))
        self.good_steps.value.assign(tf.where(grown, tf.zeros_like(steps), steps))

    def after_overflow(self) -> None:
        """Take note of a step that was left out; inside a graph, outside of replicas."""
        self.scale.value.assign(self.scale.value / 2)
        self.good_steps.value.assign(tf.zeros_like(self.good_steps.value))

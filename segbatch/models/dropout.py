"""Dropout whose rate can change while a compiled graph runs."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable("segbatch")
class Dropout(keras.layers.Dropout):  # type: ignore[misc]
    """Drops a share of the activations while training; the share is in a variable."""

    def build(self, input_shape: Any) -> None:
        """Make the variable."""
        start = keras.initializers.Constant(self.rate)
        self.current = self.add_weight(shape=(), initializer=start, trainable=False, name="rate", dtype="float32")
        super().build(input_shape)

    def call(self, inputs: keras.KerasTensor, training: bool = False) -> keras.KerasTensor:
        """Drop, and scale what stays so that sums keep their size."""
        if not training:
            return inputs
        drawn = keras.random.uniform(keras.ops.shape(inputs), seed=self.seed_generator, dtype="float32")
        kept = keras.ops.cast(drawn >= self.current, inputs.dtype)
        return inputs * kept / keras.ops.cast(1.0 - self.current, inputs.dtype)


def set_dropout(model: keras.Model, rate: float) -> None:
    """Set the rate, 0 to below 1, of all dropout layers of a network, from the next step on."""
    for layer in model._flatten_layers():
        if isinstance(layer, Dropout):
            layer.current.assign(rate)

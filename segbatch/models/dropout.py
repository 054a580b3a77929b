"""Dropout whose rate can change while a compiled graph goes on."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from segbatch.errors import InputError


@keras.saving.register_keras_serializable(package="segbatch")
class Dropout(keras.layers.Dropout):  # type: ignore[misc]
    """Keras' dropout with its rate in a variable.

    The rate of Keras' own layer is a number that becomes part of a compiled graph; setting it later changes nothing
    there. This one reads a variable each time. At the same rate and seed both drop the same activations.

    Args:
        rate: share of activations dropped in training, from 0 to below 1.
        seed: seed of its random numbers.
        **kwargs: name, dtype and the like.
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any) -> None:
        # Keras' layer makes its seed generator only for a rate above 0.
        super().__init__(rate or 0.5, seed=seed, **kwargs)
        self.rate = rate

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the variable."""
        # In double precision, since a rate such as 0.3 would not be the same number in single precision.
        self.current = self.add_weight(
            shape=(),
            dtype="float64",
            initializer=lambda shape, dtype: tf.constant(self.rate, dtype, shape),
            trainable=False,
            autocast=False,
            name="rate",
        )

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Return `inputs`, in training with a share of them set to 0 and the rest scaled up to keep the mean."""
        if not training:
            return inputs
        draw = keras.random.uniform(tf.shape(inputs), dtype=inputs.dtype, seed=self.seed_generator)
        rate = tf.convert_to_tensor(self.current)
        scaled = inputs * tf.cast(1.0 / (1.0 - rate), inputs.dtype)
        return tf.where(draw >= tf.cast(rate, inputs.dtype), scaled, tf.zeros_like(inputs))

    def get_config(self) -> dict[str, Any]:
        """Return what the layer is made from, with the rate that it has now."""
        config: dict[str, Any] = super().get_config()
        config.pop("noise_shape")
        return config | {"rate": float(self.current.numpy()) if self.built else self.rate}


def set_dropout(model: keras.Model, rate: float) -> None:
    """Set the rate of every dropout layer of a network; graphs that are compiled already follow.

    Args:
        model: a network made by `build` from a job with `model.dropout` above 0.
        rate: share of activations dropped in training, from 0 to below 1.

    Raises:
        ValueError: a rate out of range.
        InputError: the network has no dropout whose rate could be set.
    """
    if not 0 <= rate < 1:
        raise ValueError(f"expected a dropout rate from 0 to below 1, received {rate}")
    layers = [layer for layer in model._flatten_layers() if isinstance(layer, Dropout)]
    if not layers:
        raise InputError(
            f"model.dropout: network {model.name!r} was built without dropout, so its rate cannot be set to {rate}. "
            "Give `model.dropout` a rate above 0."
        )
    for layer in layers:
        layer.current.assign(rate)


def portable(model: keras.Model) -> keras.Model:
    """Return a network of Keras' own layers alone, which loads where segbatch is not installed.

    Args:
        model: a network made by `build`.

    Returns:
        The same network with Keras' dropout in place of ours, at the rates of now; `model` itself if it has none.
    """
    if not any(isinstance(layer, Dropout) for layer in model._flatten_layers()):
        return model
    copy = keras.models.clone_model(model, clone_function=_plain)
    values = {weight.path: weight for weight in model.weights}
    for weight in copy.weights:
        weight.assign(values[weight.path])
    return copy


def _plain(layer: Any) -> Any:
    if isinstance(layer, Dropout):
        return keras.layers.Dropout.from_config(layer.get_config())
    return layer.__class__.from_config(layer.get_config())

"""Which weights of a network are trained."""

from __future__ import annotations

import keras


def set_trainable(model: keras.Model, freeze: bool, fine_tune_from: str | int | None) -> None:
    """Choose which weights of the network's encoder are trained; all others always are.

    Args:
        model: a network whose encoder, if it has one, is a model within it.
        freeze: keep the encoder's weights, and its normalisation's statistics, as they are.
        fine_tune_from: name or number of the encoder's first layer that is trained nevertheless.
    """
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            layer.trainable = not freeze or fine_tune_from is not None
            if fine_tune_from is not None:
                names = [inner.name for inner in layer.layers]
                first = names.index(fine_tune_from) if isinstance(fine_tune_from, str) else fine_tune_from
                for number, inner in enumerate(layer.layers):
                    inner.trainable = number >= first

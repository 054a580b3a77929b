"""Which layers of an encoder learn."""

from __future__ import annotations

import difflib

import keras

from segbatch.errors import InputError
from segbatch.models.registry import ENCODERS


def set_trainable(model: keras.Model, freeze: bool, fine_tune_from: str | None) -> None:
    """Freeze a network's encoder, a part of it, or nothing; all other layers are left as they are.

    A frozen layer of batch normalisation uses and keeps its stored statistics. One that learns takes those of the
    batch in training and updates the stored ones, as everywhere in Keras. A graph that is compiled already keeps the
    layers it was made with: make it anew after a change, and build the optimiser for the variables that learn now.

    Args:
        model: a network made by `build`, or an encoder itself.
        freeze: freeze the whole encoder, unless `fine_tune_from` says how far.
        fine_tune_from: a layer of the encoder: those before it, in the order of `layers`, are frozen, it and those
            after it learn.

    Raises:
        InputError: there is no encoder, or no such layer in it.
    """
    encoder = _encoder_in(model)
    if encoder is None:
        if freeze or fine_tune_from is not None:
            key = "freeze" if freeze else "fine_tune_from"
            raise InputError(f"model.{key}: network {model.name!r} has no encoder of which layers could be frozen.")
        return
    frozen = freeze and fine_tune_from is None
    start = len(encoder.layers) if frozen else _position(encoder, fine_tune_from)
    # Layer by layer, since Keras passes a value on from a network to its layers only where the network's own changes.
    encoder.trainable = not frozen
    for position, layer in enumerate(encoder.layers):
        layer.trainable = position >= start


def _position(encoder: keras.Model, layer: str | None) -> int:
    names = [each.name for each in encoder.layers]
    if layer is None:
        return 0
    if layer not in names:
        close = difflib.get_close_matches(layer, names, n=1)
        guess = f" Did you mean {close[0]!r}?" if close else ""
        raise InputError(
            f"model.fine_tune_from: encoder {encoder.name!r} has no layer {layer!r}.{guess} "
            f"Its layers: {', '.join(names)}."
        )
    return names.index(layer)


def _encoder_in(model: keras.Model) -> keras.Model | None:
    names = ENCODERS.names()
    return next((layer for layer in (model, *model.layers) if layer.name in names), None)

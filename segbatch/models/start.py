"""Beginning a training with the weights of another."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from segbatch.errors import InputError
from segbatch.models.bundle import load_bundle


def take_weights(model: keras.Model, bundle: Path) -> None:
    """Give a network the weights of a trained one.

    Args:
        model: the network; of the same architecture, bands and classes as the bundle's.
        bundle: a bundle folder.

    Raises:
        InputError: the bundle cannot be read, or its network is another one; nothing has been changed then.
    """
    have = _weights(model)
    come = _weights(load_bundle(bundle).model)
    differs = next((n for n, (a, b) in enumerate(zip(have, come, strict=False)) if a.shape != b.shape), None)
    if len(have) != len(come) or differs is not None:
        where = (
            ""
            if differs is None
            else f"; the first to differ is {have[differs].path}, of shape " + str(tuple(have[differs].shape))
        )
        raise InputError(
            f"train.start_from: {bundle} holds another network than the job describes ({len(come)} weights there, "
            f"{len(have)} here{where}). Expected the same `model`, bands and number of classes; or start afresh."
        )
    values: list[NDArray[np.floating]] = [np.asarray(weight.numpy()) for weight in come]
    for weight, value in zip(have, values, strict=True):
        weight.assign(value)


def _weights(model: keras.Model) -> list[keras.Variable]:
    """Weights and statistics of normalisation; scalars are settings, such as the rate of dropout."""
    return [weight for weight in model.weights if "float" in weight.dtype and len(weight.shape)]

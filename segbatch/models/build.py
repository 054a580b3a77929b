"""From the job's `model` section to a network."""

from __future__ import annotations

import keras

from segbatch.errors import InputError
from segbatch.models.registry import ARCHITECTURES
from segbatch.spec.network import Model


def build(model: Model, *, bands: int, channels: int, seed: int) -> keras.Model:
    """Build the network that a job describes.

    Sets the random seeds of Python, NumPy and TensorFlow, so that equal arguments give equal initial weights.

    Args:
        model: the job's `model` section.
        bands: bands of the images.
        channels: 1 for a binary head, else the number of classes.
        seed: seed of the initial weights and of dropout.

    Returns:
        A network from float32 (B, height, width, bands), 0 to 1, to logits, float32 (B, height, width, channels).

    Raises:
        InputError: unknown names, an input size that cannot be halved often enough, or weights that are missing or
            do not fit.
    """
    architecture = ARCHITECTURES.get(model.chosen)()
    _check_sides(model, architecture.multiple(model))
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((*model.input, bands), name="image")
    return keras.Model(inputs, architecture.connect(model, inputs, channels), name=model.chosen)


def _check_sides(model: Model, multiple: int) -> None:
    if any(side % multiple for side in model.input):
        height, width = model.input
        lower = [max(side // multiple, 1) * multiple for side in model.input]
        upper = [-(-side // multiple) * multiple for side in model.input]
        near = " or ".join(dict.fromkeys(str(sides) for sides in (lower, upper)))
        raise InputError(
            f"model.input: {model.chosen!r} needs a height and width that are multiples of {multiple}, "
            f"received [{height}, {width}]. Nearest: {near}."
        )

"""From the job's `model` section to a network."""

from __future__ import annotations

import keras

from segbatch.models.padding import padded
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
        A network from float32 (B, height, width, bands), 0 to 1, to logits, float32 (B, height, width, channels). Its
        layers have the dtype policy in scope, such as `mixed_float16`; logits are float32 under each. Where height or
        width is no multiple of what the architecture needs, a margin of zeros is added inside and cut off again.

    Raises:
        InputError: unknown names, or weights that are missing or do not fit.
    """
    architecture = ARCHITECTURES.get(model.chosen)()
    multiple = architecture.multiple(model)
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((*model.input, bands), name="image")
    outputs = padded(inputs, multiple, lambda pixels: architecture.connect(model, pixels, channels))
    return keras.Model(inputs, outputs, name=model.chosen)

"""SegNet: convolutions and max pooling, then the same way back with the places of the maxima.

Badrinarayanan, Kendall, Cipolla: SegNet, 2017 (doi:10.1109/TPAMI.2016.2644615, arXiv:1511.00561); dropout around the
pooling follows Kendall et al.: Bayesian SegNet, 2015 (arXiv:1511.02680).
"""

from __future__ import annotations

import keras
from keras import layers, ops

from segbatch.models.blocks import conv_norm_relu, dropped, logits
from segbatch.models.registry import ARCHITECTURES
from segbatch.spec.network import Model

FILTERS = 64
DEPTH = 5


@ARCHITECTURES.register("segnet")
class SegNet:
    """SegNet of any depth and width; `filters` 64 and `depth` 5 make the published one, VGG16's 13 convolutions."""

    def multiple(self, model: Model) -> int:
        """Return two to the power of `depth`: each level halves the picture."""
        return 1 << (model.depth or DEPTH)

    def connect(self, model: Model, inputs: keras.KerasTensor, channels: int) -> keras.KerasTensor:
        """Return logits, float32 (B, height, width, channels)."""
        depth = model.depth or DEPTH
        widths = [(model.filters or FILTERS) * min(2**step, 8) for step in range(depth)]
        counts = [2 if step < 2 else 3 for step in range(depth)]
        x, places = inputs, []
        for step in range(depth):
            for part in range(counts[step]):
                x = conv_norm_relu(x, widths[step], 3, model.norm, f"down{step}_{part}")
            x, place = pool_with_places(x, f"down{step}_pool")
            places.append(place)
            x = dropped(x, model.dropout, f"down{step}_dropout")
        for step in reversed(range(depth)):
            x = unpool(x, places[step], f"up{step}_unpool")
            x = dropped(x, model.dropout, f"up{step}_dropout")
            after = [widths[step]] * (counts[step] - 1) + ([widths[step - 1]] if step else [])
            for part, filters in enumerate(after):
                x = conv_norm_relu(x, filters, 3, model.norm, f"up{step}_{part}")
        return logits(x, channels, kernel=3)


def pool_with_places(x: keras.KerasTensor, name: str) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Halve height and width by the largest of each 2x2 square, and say where it stood.

    Made of Keras' own operations, so that a saved network needs no code of ours, and without scattering, which is not
    deterministic on GPUs.

    Args:
        x: (B, 2h, 2w, C).
        name: name of the pooling layer.

    Returns:
        The maxima, (B, h, w, C), and their places, (B, 2h, 2w, C): 1 at the maximum of each square, of equal ones at
        the first in reading order, and 0 elsewhere.
    """
    largest = layers.MaxPooling2D(2, name=name)(x)
    highest = ops.equal(x, layers.UpSampling2D(2, name=f"{name}_spread")(largest))
    # Where several are equal, as after a ReLU they often are, the first wins: 4, 3, 2, 1 in reading order.
    ones = ops.ones_like(x[..., :1], dtype="float32")
    order = 2 * ops.mod(ops.cumsum(ones, axis=1), 2) + ops.mod(ops.cumsum(ones, axis=2), 2) + 1
    rank = ops.cast(highest, "float32") * order
    first = layers.MaxPooling2D(2, dtype="float32", name=f"{name}_rank")(rank)
    first = layers.UpSampling2D(2, dtype="float32", name=f"{name}_rank_spread")(first)
    return largest, ops.cast(ops.equal(rank, first), x.dtype)


def unpool(x: keras.KerasTensor, places: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Double height and width: each value goes to its place, (B, 2h, 2w, C) of 0 and 1, and all else is 0."""
    return layers.Multiply(name=name)([layers.UpSampling2D(2, name=f"{name}_spread")(x), places])

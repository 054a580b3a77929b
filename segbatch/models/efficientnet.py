"""EfficientNet B0 to B7 as encoders.

Tan, Le: EfficientNet, 2019 (arXiv:1905.11946); the networks and their ImageNet weights are those of Keras.
"""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import layers

from segbatch.models.registry import ENCODERS, Published
from segbatch.spec.data import Size
from segbatch.spec.network import EFFICIENTNETS

_URL = "https://storage.googleapis.com/keras-applications/"
_DEVIATIONS = (0.229, 0.224, 0.225)
"""Of red, green and blue over ImageNet, from 0 to 1."""


class EfficientNet:
    """Five feature maps, at 1/2 to 1/32 of the input's height and width.

    Without stochastic depth, which Keras' networks have in training: a frozen encoder gives the same features always.
    """

    variant = "b0"
    multiple = 32
    taps: tuple[str, ...] = (
        "block2a_expand_activation",
        "block3a_expand_activation",
        "block4a_expand_activation",
        "block6a_expand_activation",
        "top_activation",
    )

    def backbone(self, bands: int) -> keras.Model:
        """Return the network without its classifier, for inputs float32 (B, any, any, bands), 0 to 1."""
        pixels = keras.Input((None, None, bands), name="pixels")
        make = getattr(keras.applications, f"EfficientNet{self.variant.upper()}")
        original = make(input_tensor=pixels, include_top=False, weights=None)
        # The same layers, called once more.
        return keras.models.clone_model(original, clone_function=_same, call_function=_adapted)

    def published(self, size: Size) -> Published:
        """Return Keras' file of ImageNet weights, the same for every size: no classifier."""
        name = f"efficientnet{self.variant}_notop.h5"
        return Published(name, _URL + name)


def _same(layer: Any) -> Any:
    if isinstance(layer, layers.Normalization):
        # In float32 also under a mixed precision policy, which would round the pixels.
        return layers.Normalization.from_config(layer.get_config() | {"dtype": "float32"})
    return layer


def _adapted(layer: Any, x: keras.KerasTensor, **arguments: Any) -> keras.KerasTensor:
    """Call a layer of Keras' network, which takes 0 to 255, on pixels from 0 to 1."""
    if isinstance(layer, layers.Rescaling | layers.Dropout):
        return x
    x = layer(x, **arguments)
    if isinstance(layer, layers.Normalization) and x.shape[-1] == len(_DEVIATIONS):
        # The published weights' variances are deviations, so that half of the division is left. Keras adds it, too,
        # but only where it loads those weights itself.
        scale = [1.0 / math.sqrt(deviation) for deviation in _DEVIATIONS]
        return layers.Rescaling(scale, dtype="float32", name="rescaling")(x)
    return x


for _name in EFFICIENTNETS:
    ENCODERS.register(_name)(type(_name, (EfficientNet,), {"variant": _name.removeprefix("efficientnet_")}))

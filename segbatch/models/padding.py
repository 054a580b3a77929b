"""Pictures whose sides a network cannot halve often enough: padded on their way in, and cropped on their way out.

The margin is black (0), as the networks' own convolutions take it to be beyond every border; it is shared between both
sides. The layers' names say what they are for, so that a network rebuilt for another size gets the margin of that size.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import keras
from keras import layers

Margin = tuple[tuple[int, int], tuple[int, int]]

_NAME = re.compile(r"(?:pad_to|crop_from)_multiple_of_(\d+)")


def margin(height: int, width: int, multiple: int) -> Margin:
    """Return the pixels above and below, left and right that bring both sides to the next multiple."""
    down, across = (-side % multiple for side in (height, width))
    return (down // 2, down - down // 2), (across // 2, across - across // 2)


def padded(
    inputs: keras.KerasTensor, multiple: int, network: Callable[[keras.KerasTensor], keras.KerasTensor]
) -> keras.KerasTensor:
    """Run a network on a picture of any size.

    Args:
        inputs: (B, height, width, bands).
        multiple: what the network needs height and width to be multiples of.
        network: from (B, h, w, bands) to (B, h, w, channels).

    Returns:
        (B, height, width, channels); where both sides are multiples there is no further layer.
    """
    _, height, width, _ = inputs.shape
    sides = margin(height, width, multiple)
    if not any(map(any, sides)):
        return network(inputs)
    x = layers.ZeroPadding2D(sides, dtype="float32", name=f"pad_to_multiple_of_{multiple}")(inputs)
    return layers.Cropping2D(sides, dtype="float32", name=f"crop_from_multiple_of_{multiple}")(network(x))


def fitted(config: dict[str, Any], height: int, width: int) -> dict[str, Any]:
    """Return a layer's configuration, with the margin of another size if the layer is one that `padded` made."""
    match = _NAME.fullmatch(config.get("name", ""))
    key = "padding" if match and match[0].startswith("pad") else "cropping"
    return config | {key: margin(height, width, int(match[1]))} if match else config

"""The semantic branch of panoptic feature pyramid networks.

Kirillov et al.: Panoptic Feature Pyramid Networks, 2019 (arXiv:1901.02446), section 3 and figure 3; the pyramid below
it is of Lin et al.: Feature Pyramid Networks, 2017 (arXiv:1612.03144).
"""

from __future__ import annotations

import keras
from keras import layers

from segbatch.models.blocks import conv_norm_relu, dropped, logits
from segbatch.models.features import OnEncoder, encoder_of, features_of, strides_of
from segbatch.models.registry import ARCHITECTURES
from segbatch.spec.network import Model

FILTERS = 128
"""Of the branch; the pyramid has twice as many."""
FINEST = 4


@ARCHITECTURES.register("fpn")
class FPN(OnEncoder):
    """A pyramid on the encoder's features from 1/4 on, each level brought to 1/4 and summed; `filters` default to 128.

    An encoder that ends at 1/16, such as vgg16, gives a pyramid of three levels instead of four.
    """

    def connect(self, model: Model, inputs: keras.KerasTensor, channels: int) -> keras.KerasTensor:
        """Return logits, float32 (B, height, width, channels).

        Raises:
            InputError: unknown names, an encoder without such features, or weights that are missing or do not fit.
        """
        filters = model.filters or FILTERS
        coarser = [stride for stride in strides_of(encoder_of(model)) if stride > FINEST]
        pyramid = _pyramid(features_of(model, inputs, strides=(FINEST, *coarser)), 2 * filters)
        levels = [_to_finest(x, stride, filters) for stride, x in pyramid.items()]
        x = layers.Add(name="sum")(levels) if len(levels) > 1 else levels[0]
        x = dropped(x, model.dropout, "sum_dropout")
        return logits(x, channels, enlarge=FINEST)


def _pyramid(features: dict[int, keras.KerasTensor], filters: int) -> dict[int, keras.KerasTensor]:
    """Return features by stride with `filters` channels each, coarse ones added to finer ones from the top down."""
    out: dict[int, keras.KerasTensor] = {}
    above = None
    for stride in sorted(features, reverse=True):
        x = layers.Conv2D(filters, 1, name=f"lateral{stride}")(features[stride])
        if above is not None:
            above = layers.UpSampling2D(2, name=f"lateral{stride}_above")(above)
            x = layers.Add(name=f"lateral{stride}_sum")([x, above])
        above = x
        out[stride] = layers.Conv2D(filters, 3, padding="same", name=f"pyramid{stride}")(x)
    return out


def _to_finest(x: keras.KerasTensor, stride: int, filters: int) -> keras.KerasTensor:
    """Stages of a 3x3 convolution, group normalisation, ReLU and a bilinear doubling, until the stride is 4.

    Features that have it already go through one stage without the doubling.
    """
    if stride == FINEST:
        return conv_norm_relu(x, filters, 3, "group", f"branch{stride}_0")
    step = 0
    while stride >> step > FINEST:
        name = f"branch{stride}_{step}"
        x = conv_norm_relu(x, filters, 3, "group", name)
        x = layers.UpSampling2D(2, interpolation="bilinear", name=f"{name}_resize")(x)
        step += 1
    return x

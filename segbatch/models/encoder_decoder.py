"""The architecture that joins any encoder with any decoder."""

from __future__ import annotations

import keras

from segbatch.models.features import OnEncoder, features_of
from segbatch.models.registry import ARCHITECTURES, DECODERS
from segbatch.spec.network import Model


@ARCHITECTURES.register("encoder_decoder")
class EncoderDecoder(OnEncoder):
    """An encoder, pretrained or not, and a decoder with skip connections."""

    def connect(self, model: Model, inputs: keras.KerasTensor, channels: int) -> keras.KerasTensor:
        """Return logits, float32 (B, height, width, channels).

        Raises:
            InputError: unknown names, or weights that are missing or do not fit.
        """
        decoder = DECODERS.get(model.chosen_decoder)
        features = features_of(model, inputs)
        return decoder(list(features.values()), channels, model, min(features))

"""The architecture that joins any encoder with any decoder."""

from __future__ import annotations

import keras

from segbatch.errors import InputError
from segbatch.models.registry import ARCHITECTURES, DECODERS, ENCODERS, Encoder
from segbatch.models.weights import ensure_weights, load_weights
from segbatch.spec.network import Model


@ARCHITECTURES.register("encoder_decoder")
class EncoderDecoder:
    """An encoder, pretrained or not, and a decoder with skip connections."""

    def multiple(self, model: Model) -> int:
        """Return the encoder's multiple.

        Raises:
            InputError: no encoder, or an unknown one.
        """
        return _encoder(model).multiple

    def connect(self, model: Model, inputs: keras.KerasTensor, channels: int) -> keras.KerasTensor:
        """Return logits, float32 (B, height, width, channels).

        Raises:
            InputError: unknown names, or weights that are missing or do not fit.
        """
        decoder = DECODERS.get(model.decoder or "pix2pix")
        features = _features(model, inputs.shape[-1])
        # Off also keeps the encoder's batch normalisation on its stored statistics while the decoder trains.
        features.trainable = not model.freeze
        return decoder(features(inputs), channels)


def _encoder(model: Model) -> Encoder:
    if model.encoder is None:
        raise InputError(
            "model.encoder: architecture 'encoder_decoder' needs an encoder. "
            f"Expected one of: {', '.join(ENCODERS.names())}."
        )
    return ENCODERS.get(model.encoder)()


def _features(model: Model, bands: int) -> keras.Model:
    """Return the encoder with its weights, as a network of one output a tap."""
    encoder = _encoder(model)
    published = encoder.published(model.input) if model.weights == "imagenet" else None
    if published is not None and published.bands != bands:
        raise InputError(
            f"model.weights: expected images of {published.bands} bands for ImageNet weights, received data.bands "
            f"{bands}. Set `weights: null`, or name a file of weights trained on {bands} bands."
        )
    path = ensure_weights(model)
    backbone = encoder.backbone(bands)
    features = keras.Model(
        backbone.inputs[0], [backbone.get_layer(tap).output for tap in encoder.taps], name=model.encoder
    )
    if path is not None:
        load_weights(path, (backbone, features))
    return features

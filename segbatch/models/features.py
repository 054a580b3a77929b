"""An encoder with its weights, cut to the features that a network takes."""

from __future__ import annotations

from typing import Any

import keras

from segbatch.errors import InputError
from segbatch.models.blocks import MOMENTUM
from segbatch.models.registry import ENCODERS, Encoder
from segbatch.models.trainable import set_trainable
from segbatch.models.weights import ensure_weights, load_weights
from segbatch.spec.network import Model


def encoder_of(model: Model) -> Encoder:
    """Return the encoder that a job names.

    Raises:
        InputError: it names none, or an unknown one.
    """
    if model.encoder is None:
        raise InputError(
            f"model.encoder: architecture {model.chosen!r} needs an encoder. "
            f"Expected one of: {', '.join(ENCODERS.names())}."
        )
    return ENCODERS.get(model.encoder)()


class OnEncoder:
    """What architectures have in common that take all their features from an encoder."""

    def multiple(self, model: Model) -> int:
        """Return the encoder's multiple.

        Raises:
            InputError: no encoder, or an unknown one.
        """
        return encoder_of(model).multiple


def strides_of(encoder: Encoder) -> dict[int, str]:
    """Return an encoder's taps by how many pixels of the input stand for one of theirs, finest first."""
    last = len(encoder.taps) - 1
    return {encoder.multiple >> (last - position): tap for position, tap in enumerate(encoder.taps)}


def features_of(
    model: Model, inputs: keras.KerasTensor, *, strides: tuple[int, ...] | None = None, deepest: int | None = None
) -> dict[int, keras.KerasTensor]:
    """Run the job's encoder.

    Args:
        model: the job's `model` section.
        inputs: float32 (B, height, width, bands), 0 to 1.
        strides: the features that are wanted, by their strides. Defaults to all.
        deepest: stride of the last feature; the encoder's own last stage goes on at that resolution, with atrous
            convolutions in place of its last stride. Defaults to the encoder's own, which may be up to twice as large.

    Returns:
        Features by stride, finest first: (B, height / stride, width / stride, any).

    Raises:
        InputError: unknown names, features that the encoder does not have, or weights that are missing or do not fit.
    """
    encoder = encoder_of(model)
    bands = inputs.shape[-1]
    published = encoder.published(model.input) if model.weights == "imagenet" else None
    if published is not None and published.bands != bands:
        raise InputError(
            f"model.weights: expected images of {published.bands} bands for ImageNet weights, received data.bands "
            f"{bands}. Set `weights: null`, or name a file of weights trained on {bands} bands."
        )
    path = ensure_weights(model)
    backbone = encoder.backbone(bands)
    whole = keras.Model(backbone.inputs[0], [_output(backbone, tap) for tap in encoder.taps], name=model.encoder)
    if path is not None:
        load_weights(path, (backbone, whole))
    else:
        _forget_sooner(whole)
    taps = strides_of(encoder)
    if deepest is not None and deepest < encoder.multiple:
        whole = _dilated(whole, taps.get(deepest))
        taps = {min(stride, deepest): tap for stride, tap in taps.items()}
    wanted = strides or tuple(taps)
    missing = [stride for stride in wanted if stride not in taps]
    if missing:
        raise InputError(
            f"model.encoder: architecture {model.chosen!r} needs features at {_shares(wanted)} of the input's sides; "
            f"encoder {model.encoder!r} has them at {_shares(tuple(taps))}."
        )
    chosen = [_output(whole, taps[stride]) for stride in wanted]
    network = keras.Model(whole.inputs[0], chosen, name=model.encoder)
    set_trainable(network, model.freeze, model.fine_tune_from)
    maps = network(inputs)
    return dict(zip(wanted, maps if isinstance(maps, list) else [maps], strict=True))


def _forget_sooner(network: keras.Model) -> None:
    """Let the statistics of an untrained encoder follow its weights, which change fast.

    Keras' own 0.99 and 0.999 are for trained weights: from random ones it takes thousands of steps until validation
    sees what training sees.
    """
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = MOMENTUM


def _dilated(network: keras.Model, tap: str | None) -> keras.Model:
    """Return the network with what follows a tap kept at the tap's resolution.

    Chen et al.: Rethinking Atrous Convolution, 2017 (arXiv:1706.05587), with one stride taken away: it becomes 1, and
    the kernels after it take every second pixel, so that the weights see what they saw before.
    """
    if tap is None:
        return network
    below = {network.get_layer(tap)}
    for layer in network.layers:
        if any(sender in below for sender in _senders(network, layer)):
            below.add(layer)
    below.remove(network.get_layer(tap))
    changed = {layer: copy for layer in below if (copy := _undone_stride(layer)) is not None}
    copy = keras.models.clone_model(network, clone_function=lambda layer: changed.get(layer, layer))
    for layer, twin in changed.items():
        twin.set_weights(layer.get_weights())
    return copy


def _undone_stride(layer: Any) -> Any | None:
    """Return a copy of a layer without its stride or with its kernel spread out; None for one that stays as it is."""
    config = layer.get_config()
    if isinstance(layer, keras.layers.ZeroPadding2D):
        # It only prepares a convolution with a stride, which now pads for itself.
        config["padding"] = 0
    elif max(config.get("strides", (1,))) > 1:
        config |= {"strides": (1, 1), "padding": "same"}
    elif max(config.get("kernel_size", (1,))) > 1:
        config["dilation_rate"] = (2, 2)
    else:
        return None
    return layer.__class__.from_config(config)


def _senders(network: keras.Model, layer: Any) -> list[Any]:
    node = _node(network, layer)
    return [tensor._keras_history.operation for tensor in node.input_tensors] if node else []


def _output(network: keras.Model, name: str) -> keras.KerasTensor:
    """Return what a layer gives in this network; `layer.output` is of the first that it became a part of."""
    node = _node(network, network.get_layer(name))
    return node.output_tensors[0]


def _node(network: keras.Model, layer: Any) -> Any:
    nodes = (node for level in network._nodes_by_depth.values() for node in level)
    return next((node for node in nodes if node.operation is layer), None)


def _shares(strides: tuple[int, ...]) -> str:
    return ", ".join(f"1/{stride}" if stride > 1 else "1" for stride in strides)

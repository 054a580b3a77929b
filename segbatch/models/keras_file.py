"""Models as notebooks save them: `.keras` and `.h5` files that say nothing of labels, thresholds or origin."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, cast

import h5py  # type: ignore[import-untyped]
import keras

from segbatch.errors import InputError
from segbatch.spec.bundle import BundleInfo
from segbatch.spec.data import MOST_BANDS
from segbatch.spec.labels import Labels

Output = Literal["logits", "probabilities"]

HDF5_SUFFIXES = (".h5", ".hdf5")
SUFFIXES = (".keras", *HDF5_SUFFIXES)

_NESTED = ("Functional", "Model", "Sequential")
_GROUPLESS = ("DepthwiseConv2D", "Conv2DTranspose")
_TRANSPARENT = ("Dropout", "SpatialDropout2D", "Identity", "UpSampling2D", "Resizing", "Cropping2D")
"""Layers after which logits are still logits and probabilities still probabilities."""


def read_model(path: Path) -> keras.Model:
    """Load a Keras file without its optimizer, loss and metrics, which may be of the notebook's own making.

    Args:
        path: `.keras`, or `.h5` written by Keras 2 or 3.

    Raises:
        InputError: no such file, or Keras cannot load it.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file. Expected a bundle folder, or a Keras file (.keras, .h5).")
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path}: expected a bundle folder or a file ending in {', '.join(SUFFIXES)}.")
    try:
        config = _keras_2_config(path) if path.suffix in HDF5_SUFFIXES else None
        if config is None:
            return _bare(keras.models.load_model(path, compile=False))
        return _bare(_from_keras_2(config, path))
    # Keras raises errors of many kinds for files that are damaged or need code that is not there.
    except Exception as error:
        reason = " ".join(str(error).split())[:400]
        raise InputError(
            f"{path}: Keras {keras.__version__} cannot load this file: {reason} "
            "Expected a whole model saved with `model.save(...)`, made of Keras' own layers; not weights alone, and "
            "without Lambda layers."
        ) from error


def derive_info(
    path: Path,
    model: keras.Model,
    labels: Labels,
    *,
    normalize: Literal["unit", "imagenet"] = "unit",
    output: Literal["auto", "logits", "probabilities"] = "auto",
) -> BundleInfo:
    """Work out what a bundle would say of a model from a Keras file.

    Args:
        path: where it comes from, for messages and its name.
        model: from (B, h, w, bands) to (B, h, w, channels), with fixed h, w and bands.
        labels: the classes; one channel stands for two scored classes, else each has its own.
        normalize: how its inputs were normalised.
        output: what its channels hold; `auto` looks at the last activation.

    Raises:
        InputError: its inputs or outputs are of no such form, do not fit the labels, or `auto` finds no answer.
    """
    height, width, bands = _input_form(path, model)
    channels = _channels(path, model, (height, width))
    head: Literal["binary", "multiclass"] = "binary" if channels == 1 else "multiclass"
    _check_classes(path, channels, labels)
    if normalize == "imagenet" and bands != 3:
        raise InputError(f"{path}: model.normalize: imagenet is for 3 bands, this network takes {bands}.")
    return BundleInfo(
        # Names on disk may hold bytes that are no text; this one is only shown.
        name=path.stem.encode("utf-8", "surrogateescape").decode("utf-8", "replace"),
        labels=labels,
        head=head,
        output=_detected_output(path, model, head) if output == "auto" else output,
        input=(height, width),
        bands=bands,
        normalize=normalize,
    )


def _bare(model: keras.Model) -> keras.Model:
    """Take the one input and the one output of a network out of the lists that some files keep them in."""
    inputs: list[Any] = getattr(model, "inputs", None) or []
    outputs: list[Any] = getattr(model, "outputs", None) or []
    if isinstance(model, keras.Sequential) or len(inputs) != 1 or len(outputs) != 1:
        return model
    if isinstance(model.input, keras.KerasTensor) and isinstance(model.output, keras.KerasTensor):
        return model
    return keras.Model(inputs[0], outputs[0], name=model.name)


def _input_form(path: Path, model: keras.Model) -> tuple[int, int, int]:
    shapes = [tuple(tensor.shape) for tensor in getattr(model, "inputs", None) or ()]
    if len(shapes) != 1 or len(shapes[0]) != 4 or None in shapes[0][1:]:
        raise InputError(
            f"{path}: expected one input of fixed size (batch, height, width, bands), received {_text(shapes)}. "
            "Build the model with such an input, as in keras.Input((256, 256, 3)), and save it again."
        )
    _, height, width, bands = shapes[0]
    if not 1 <= bands <= MOST_BANDS:
        raise InputError(f"{path}: expected an input of 1 to {MOST_BANDS} bands, received {bands}, in {_text(shapes)}.")
    return height, width, bands


def _channels(path: Path, model: keras.Model, size: tuple[int, int]) -> int:
    shapes = [tuple(tensor.shape) for tensor in model.outputs]
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][1:3] != size or not shapes[0][3]:
        raise InputError(
            f"{path}: expected one output of the input's height and width (batch, {size[0]}, {size[1]}, channels), "
            f"received {_text(shapes)}."
        )
    return int(shapes[0][3])


def _text(shapes: list[tuple[int | None, ...]]) -> str:
    return " and ".join(str(shape) for shape in shapes) or "none"


def _check_classes(path: Path, channels: int, labels: Labels) -> None:
    classes = len(labels.scored)
    expected = 2 if channels == 1 else channels
    if classes != expected:
        what = "one channel, for two classes" if channels == 1 else f"{channels} channels, one a class"
        raise InputError(
            f"{path}: the model gives {what}, but labels {labels.name!r} have {classes} classes that are not ignored. "
            "Name the labels it was trained with."
        )


def _detected_output(path: Path, model: keras.Model, head: str) -> Output:
    operation, activation = _last_activation(model.outputs[0])
    if activation == "softmax" and head == "binary":
        raise InputError(
            f"{path}: the model's one channel goes through a softmax, which makes it 1 everywhere. "
            "Expected a sigmoid; train it again with one."
        )
    known: dict[str | None, Output] = {"sigmoid": "probabilities", "softmax": "probabilities", "linear": "logits"}
    if activation not in known:
        raise InputError(
            f"{path}: cannot tell what the model gives from its last layer {operation.name!r} "
            f"({type(operation).__name__}{f', {activation}' if activation else ''}). "
            "Set `model.output` to `logits` or `probabilities`."
        )
    return known[activation]


def _last_activation(tensor: keras.KerasTensor) -> tuple[Any, str | None]:
    """Return the operation that gives the tensor its meaning, and that operation's activation, if it has one."""
    while True:
        operation, node, position = tensor._keras_history
        kind = type(operation).__name__
        if isinstance(operation, keras.Model):
            tensor = operation.outputs[position]
            continue
        activation = getattr(getattr(operation, "activation", None), "__name__", None)
        if kind in _TRANSPARENT or (kind == "Activation" and activation == "linear"):
            tensor = operation._inbound_nodes[node].input_tensors[0]
            continue
        return operation, kind.lower() if kind in ("Softmax", "Sigmoid") else activation


def _keras_2_config(path: Path) -> dict[str, Any] | None:
    """Return the network's description if Keras 2 wrote the file, else None."""
    with path.open("rb") as raw, h5py.File(raw, "r") as file:
        version, config = file.attrs.get("keras_version", "2"), file.attrs.get("model_config")
        if config is None or str(version).startswith("3"):
            return None
        return cast(dict[str, Any], json.loads(config))


def _from_keras_2(config: dict[str, Any], path: Path) -> keras.Model:
    _upgrade(config)
    kind = keras.Sequential if config["class_name"] == "Sequential" else keras.Model
    model = kind.from_config(config["config"])
    model.load_weights(path)
    return model


def _upgrade(layer: dict[str, Any]) -> None:
    """Change a description by Keras 2 in place, where Keras 3 would refuse or misread it.

    Keras 3 knows no `groups` in some layers, and does not count a network's own making as its first call, as Keras 2
    does where it says which call of a nested network a layer takes.
    """
    config = layer["config"]
    if layer["class_name"] in _GROUPLESS:
        config.pop("groups", None)
    inner = config.get("layers", [])
    nested = {item["config"]["name"] for item in inner if item["class_name"] in _NESTED}
    for item in inner:
        _upgrade(item)
        for reference in (entry for call in item.get("inbound_nodes", ()) for entry in call):
            if reference[0] in nested:
                reference[1] -= 1
    for reference in config.get("output_layers", ()):
        if reference[0] in {item["config"]["name"] for item in inner if item["class_name"] == "Sequential"}:
            reference[1] -= 1

"""Bundles: a trained network in a folder with all that predicting needs to know of it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
from numpy.typing import NDArray

from segbatch.errors import InputError
from segbatch.models.dropout import portable
from segbatch.models.folders import replace_folder
from segbatch.models.keras_file import derive_info, read_model
from segbatch.models.padding import fitted
from segbatch.runs.files import temporary_name, write_json
from segbatch.spec.bundle import BUNDLE_FILE, MEAN_IMAGE_FILE, MODEL_FILE, BundleInfo, read_info
from segbatch.spec.labels import Labels

_ATTEMPTS = 5


@dataclass(frozen=True)
class Bundle:
    """A network ready to predict, and what is known of it."""

    info: BundleInfo
    """What the bundle says of itself."""
    model: keras.Model
    """From float32 (B, h, w, bands), normalised, to float32 (B, h, w, channels)."""
    path: Path
    """Where it was read: a folder or a Keras file."""
    mean_image: NDArray[np.float32] | None = None
    """[h, w, bands], 0 to 1, of the network's input size; only where `info.normalize` is standardize_image."""


def save_bundle(
    folder: Path, model: keras.Model, info: BundleInfo, mean_image: NDArray[np.floating] | None = None
) -> None:
    """Write a bundle; it appears whole, and replaces one that is there.

    Args:
        folder: its place; the folder above must exist.
        model: the network.
        info: what to say of it; must fit the network.
        mean_image: [h, w, bands], 0 to 1, of the input's size, where `info.normalize` is standardize_image.

    Raises:
        InputError: `info` does not fit the network, or the mean image.
    """
    _check_fit(folder, model, info)
    _check_mean_image(folder, mean_image, info)
    # A link stays, and what it points to is replaced.
    place = folder.resolve()
    temporary = temporary_name(place)
    temporary.mkdir()
    try:
        portable(model).save(temporary / MODEL_FILE)
        if mean_image is not None:
            np.save(temporary / MEAN_IMAGE_FILE, mean_image.astype(np.float32), allow_pickle=False)
        write_json(temporary / BUNDLE_FILE, info.model_dump(mode="json"))
        replace_folder(temporary, place)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def load_bundle(
    path: Path,
    *,
    labels: Labels | None = None,
    normalize: Literal["unit", "imagenet"] = "unit",
    output: Literal["auto", "logits", "probabilities"] = "auto",
) -> Bundle:
    """Read a bundle, or a Keras file as if it were one.

    Args:
        path: a bundle folder, or a `.keras` or `.h5` file.
        labels: the classes; for Keras files only.
        normalize: how inputs were normalised; for Keras files only.
        output: what the channels hold; for Keras files only. `auto` looks at the last activation.

    Raises:
        InputError: it cannot be read, or does not fit the labels.
    """
    if path.is_dir() or not path.suffix:
        info, model, mean_image = _read_folder(path)
        return Bundle(info, model, path, mean_image)
    model = read_model(path)
    if labels is None:
        raise InputError(
            f"{path}: a Keras file does not say its classes. Give the job the `labels` it was trained with."
        )
    return Bundle(derive_info(path, model, labels, normalize=normalize, output=output), model, path)


def resized_model(model: keras.Model, height: int, width: int) -> keras.Model:
    """Return a network of the same weights for another input size.

    Args:
        model: from (B, h, w, bands) to (B, h, w, channels).
        height: height of the new input.
        width: width of the new input.

    Returns:
        From (B, height, width, bands) to (B, height, width, channels); `model` itself if it has that size already.

    Raises:
        InputError: the network cannot work at that size.
    """
    old = tuple(model.inputs[0].shape)
    if old[1:3] == (height, width):
        return model
    try:
        resized = _on_size(model, height, width)
        resized.set_weights(model.get_weights())
        size = tuple(resized.outputs[0].shape)[1:3]
    # Which error a layer raises for a shape it cannot take differs from layer to layer.
    except Exception as error:
        raise _no_such_size(model, (height, width), " ".join(str(error).split())[:300]) from error
    if size != (height, width):
        raise _no_such_size(model, (height, width), f"Its output would be {size[0]}x{size[1]}.")
    return resized


def _read_folder(folder: Path) -> tuple[BundleInfo, keras.Model, NDArray[np.float32] | None]:
    """Read all files of one bundle, though another may take its place meanwhile."""
    info = read_info(folder)
    for _ in range(_ATTEMPTS):
        model, mean_image = read_model(folder / MODEL_FILE), _read_mean_image(folder, info)
        before, info = info, read_info(folder)
        if before == info:
            _check_fit(folder, model, info)
            _check_mean_image(folder, mean_image, info)
            return info, model, mean_image
    raise InputError(f"{folder}: the bundle changed each time it was read. Wait until it is finished.")


def _read_mean_image(folder: Path, info: BundleInfo) -> NDArray[np.float32] | None:
    if info.normalize != "standardize_image":
        return None
    path = folder / MEAN_IMAGE_FILE
    try:
        return np.asarray(np.load(path, allow_pickle=False), np.float32)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: the mean image cannot be read: {error}. Copy the whole bundle again.") from error


def _check_mean_image(folder: Path, mean_image: NDArray[np.floating] | None, info: BundleInfo) -> None:
    expected = (*info.input, info.bands) if info.normalize == "standardize_image" else None
    received = None if mean_image is None else mean_image.shape
    if received != expected:
        raise InputError(
            f"{folder}: normalised by {info.normalize}, expected a mean image of shape {expected}, received {received}."
        )


def _check_fit(folder: Path, model: keras.Model, info: BundleInfo) -> None:
    channels = 1 if info.head == "binary" else len(info.labels.scored)
    expected = ((None, *info.input, info.bands), (None, *info.input, channels))
    received = (tuple(model.inputs[0].shape), tuple(model.outputs[0].shape))
    if received != expected:
        raise InputError(
            f"{folder}: {BUNDLE_FILE} describes a network from {expected[0]} to {expected[1]}, but {MODEL_FILE} holds "
            f"one from {received[0]} to {received[1]}."
        )


def _on_size(network: keras.Model, height: int | None, width: int | None) -> keras.Model:
    """Copy a network's layers, with random weights; those of its inputs that are pictures get a new size."""

    def renewed_input(tensor: keras.KerasTensor) -> keras.KerasTensor:
        shape = (height, width, tensor.shape[3]) if len(tensor.shape) == 4 else tensor.shape[1:]
        return keras.Input(shape, dtype=tensor.dtype)

    sequential = isinstance(network, keras.Sequential)
    inputs = renewed_input(network.inputs[0]) if sequential else keras.tree.map_structure(renewed_input, network.input)

    def renewed_layer(layer: Any) -> Any:
        # Networks within the network lose the input size they were built for.
        if isinstance(layer, keras.Model):
            return _on_size(layer, None, None)
        config = layer.get_config()
        return layer.__class__.from_config(fitted(config, height, width) if height and width else config)

    return keras.models.clone_model(network, input_tensors=inputs, clone_function=renewed_layer)


def _no_such_size(model: keras.Model, size: tuple[int, int], reason: str) -> InputError:
    height, width = model.inputs[0].shape[1:3]
    smallest = [tensor.shape[1] for layer in model.layers for tensor in _maps(layer) if (tensor.shape[1] or 1) > 1]
    multiple = height // min(smallest, default=height)
    hint = f" Sides that are multiples of {multiple} may do." if multiple > 1 else ""
    return InputError(
        f"the network, built for {height}x{width} pixels, cannot work at {size[0]}x{size[1]}.{hint} ({reason})"
    )


def _maps(layer: Any) -> list[Any]:
    """Return the pictures (B, h, w, any) that a layer of a network gives in it."""
    outputs = [tensor for node in layer._inbound_nodes for tensor in node.output_tensors]
    return [tensor for tensor in outputs if len(tensor.shape) == 4]

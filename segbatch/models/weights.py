"""Weights that an encoder starts from: found or fetched before anything else starts, then loaded."""

from __future__ import annotations

import os
import shlex
import threading
import urllib.request
import warnings
from collections.abc import Sequence
from pathlib import Path

import keras

from segbatch.errors import InputError
from segbatch.models.registry import ENCODERS, Published
from segbatch.runs.files import replacing
from segbatch.spec.network import Model

FETCH_SECONDS = 180.0
_SILENCE_SECONDS = 15.0
_CHUNK = 1 << 20
_HDF5 = b"\x89HDF\r\n\x1a\n"
_SUFFIXES = (".keras", ".h5")


def ensure_weights(model: Model, *, seconds: float = FETCH_SECONDS) -> Path | None:
    """Find the encoder's weights, fetching ImageNet's if they are not on this machine yet.

    Quick when the file is there. To be called before anything else of a task starts, so that nothing has happened if
    it fails.

    Args:
        model: the job's `model` section.
        seconds: limit on fetching, in all.

    Returns:
        The file, or None where the encoder starts from random weights.

    Raises:
        InputError: there is no such file, or it can be neither found nor fetched.
    """
    if model.weights is None:
        return None
    if model.weights != "imagenet":
        return _given(Path(model.weights).expanduser())
    if model.encoder is None:
        raise InputError("model.weights: `imagenet` needs an encoder to go into; set `model.encoder` too.")
    published = ENCODERS.get(model.encoder)().published(model.input)
    if published is None:
        raise InputError(f"model.weights: there are no ImageNet weights for encoder {model.encoder!r}.")
    path = cache_folder() / published.name
    if not path.is_file():
        _fetch_published(published, path, seconds)
    return path


def cache_folder() -> Path:
    """Return the folder that Keras keeps fetched weights in."""
    home = os.environ.get("KERAS_HOME")
    return (Path(home).expanduser() if home else Path.home() / ".keras") / "models"


def fetch(url: str, path: Path, *, seconds: float) -> None:
    """Fetch an HDF5 file; it appears as `path` only when it is complete.

    Args:
        url: where it is.
        path: final name; its folder must exist.
        seconds: limit on the whole, looking up the host's name included.

    Raises:
        OSError: it could not be fetched, in time or at all, or is no HDF5 file.
    """
    failures: list[Exception] = []

    def attempt() -> None:
        try:
            _download(url, path, min(seconds, _SILENCE_SECONDS))
        except Exception as error:
            failures.append(error)

    # Socket time-outs bound each read, not name look-ups nor the sum of many slow reads; waiting on a thread does.
    thread = threading.Thread(target=attempt, name="fetch-weights", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError(f"not complete after {seconds:g} s")
    if failures:
        raise OSError(f"{type(failures[0]).__name__}: {failures[0]}") from failures[0]


def load_weights(path: Path, networks: Sequence[keras.Model]) -> None:
    """Load a weights file into the first of `networks` that it fits; they share their layers.

    Args:
        path: `.keras`, `.weights.h5`, or an older `.h5` such as Keras publishes.
        networks: the whole backbone first, then the part of it that is used.

    Raises:
        InputError: it fits none of them, or cannot be read.
    """
    reasons = []
    for network in networks:
        try:
            _load_whole(path, network)
            return
        # Keras raises errors of many kinds for files that are damaged or of another network.
        except Exception as error:
            reasons.append(" ".join(str(error).split())[:300])
    raise InputError(
        f"{path}: cannot be loaded into encoder {networks[-1].name!r}: {reasons[0]} Expected a whole file of weights "
        "saved from this encoder with the same number of bands. If the file was fetched, delete it and fetch it again."
    )


def _load_whole(path: Path, network: keras.Model) -> None:
    """Load every weight; Keras itself may leave out layers that a file does not have, with no more than a warning."""
    weights = [variable for variable in network.weights if variable.dtype.startswith("float")]
    for variable in weights:
        variable.assign(keras.ops.full(variable.shape, float("nan")))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network.load_weights(path)
    missing = [variable.path for variable in weights if bool(keras.ops.all(keras.ops.isnan(variable)))]
    if missing:
        raise ValueError(f"{len(missing)} of {len(weights)} weights are not in the file, such as {missing[0]}.")


def _given(path: Path) -> Path:
    if not path.is_file():
        raise InputError(f"model.weights: {path}: no such file. Expected `imagenet`, a weights file, or `null`.")
    if path.suffix not in _SUFFIXES:
        raise InputError(f"model.weights: {path}: expected a name ending in .keras, .weights.h5 or .h5.")
    return path


def _fetch_published(published: Published, path: Path, seconds: float) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fetch(published.url, path, seconds=seconds)
    except OSError as error:
        raise InputError(
            f"model.weights: the ImageNet weights are not on this machine and cannot be fetched ({error}).\n"
            f"  file:   {published.name}\n"
            f"  from:   {published.url}\n"
            f"  folder: {path.parent} (KERAS_HOME names the folder above it)\n"
            "On a machine that reaches the internet and this folder, run\n"
            f"  curl -fL --create-dirs -o {shlex.quote(str(path))} {published.url}\n"
            "or fetch it elsewhere and copy it there. `weights: null` starts from random weights instead."
        ) from error


def _download(url: str, path: Path, silence: float) -> None:
    with urllib.request.urlopen(url, timeout=silence) as answer, replacing(path) as handle:
        expected = answer.headers.get("Content-Length")
        size, head = 0, b""
        while chunk := answer.read(_CHUNK):
            head = head or chunk[: len(_HDF5)]
            size += handle.write(chunk)
        if expected is not None and size != int(expected):
            raise OSError(f"the connection ended after {size} of {expected} bytes")
        if head != _HDF5:
            raise OSError("the answer is not a weights file; a proxy may have answered in its place")

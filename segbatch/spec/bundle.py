"""What a trained model's bundle says of itself; readable without TensorFlow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from segbatch.errors import InputError
from segbatch.spec.data import Size
from segbatch.spec.labels import Labels
from segbatch.spec.section import Section

BUNDLE_FILE = "bundle.json"
MODEL_FILE = "model.keras"
SCHEMA_VERSION: Literal[1] = 1


class BundleInfo(Section):
    """All that predicting needs beside the weights."""

    schema_version: Literal[1] = SCHEMA_VERSION
    """Version of this file's layout."""
    name: str
    """Name of the job that trained the model."""
    labels: Labels
    """The classes, in the order of the network's channels."""
    head: Literal["binary", "multiclass"]
    """`binary`: one channel, the score of the second class. `multiclass`: one channel a class."""
    output: Literal["logits", "probabilities"] = "logits"
    """What the network's channels hold."""
    input: Size
    """Height and width that the network takes."""
    resize: Literal["bilinear", "area", "lanczos3"] = "bilinear"
    """How images are brought to the input size."""
    bands: Literal[1, 3, 4] = 3
    """Bands of the images."""
    depth: Literal[8, 16] = 8
    """Bits of a band."""
    decode: Literal["accurate", "fast"] = "accurate"
    """How JPEG files were decoded in training."""
    normalize: Literal["unit"] = "unit"
    """How pixel values become the network's input."""
    threshold: float = 0.5
    """Binary head: probability from which a pixel is the second class."""
    provenance: dict[str, Any] = {}
    """Where the model comes from: run, digests, versions, epoch, scores."""


def read_info(folder: Path) -> BundleInfo:
    """Read a bundle's description.

    Args:
        folder: the bundle, holding `bundle.json` and `model.keras`.

    Raises:
        InputError: the folder is no bundle, or one of another version.
    """
    path = folder / BUNDLE_FILE
    if not folder.is_dir():
        raise InputError(f"{folder}: no such bundle folder. Expected the `model` folder of a finished train run.")
    missing = [name for name in (BUNDLE_FILE, MODEL_FILE) if not (folder / name).is_file()]
    if missing:
        raise InputError(f"{folder}: not a bundle, it has no {' and no '.join(missing)}. Did its train run finish?")
    try:
        return BundleInfo.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, ValidationError) as error:
        raise InputError(f"{path}: not a bundle of version {SCHEMA_VERSION}: {error}") from error

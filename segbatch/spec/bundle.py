"""What a trained model's bundle says of itself; readable without TensorFlow."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from segbatch.errors import InputError
from segbatch.spec.data import Bands, Size
from segbatch.spec.labels import Labels
from segbatch.spec.normalization import Normalize
from segbatch.spec.section import Conflict, Section

BUNDLE_FILE = "bundle.json"
MODEL_FILE = "model.keras"
MEAN_IMAGE_FILE = "mean_image.npy"
"""float32 [h, w, bands], 0 to 1; only in bundles that are normalised by `standardize_image`."""
SCHEMA_VERSION: Literal[1] = 1


class BestThreshold(Section):
    """The threshold of highest IoU on the validation part, for a binary head, at the network's resolution."""

    threshold: float
    """Probability from which a pixel is the second class."""
    iou: float | None
    """IoU of the second class with it; None where neither truth nor prediction has the class."""
    iou_at_half: float | None
    """IoU of the second class with 0.5."""
    tp: int
    """Pixels of the second class that are found with it."""
    fp: int
    """Pixels of the first class that are taken for the second."""
    fn: int
    """Pixels of the second class that are missed."""


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
    bands: Bands = 3
    """Bands of the images."""
    depth: Literal[8, 16] = 8
    """Bits of a band."""
    decode: Literal["accurate", "fast"] = "accurate"
    """How JPEG files were decoded in training."""
    normalize: Normalize = "unit"
    """How pixel values become the network's input."""
    mean: tuple[float, ...] | None = None
    """`standardize`: mean of each band over the training part, in units of 0 to 1."""
    deviation: tuple[float, ...] | None = None
    """`standardize`: standard deviation of each band; `standardize_image`: one from the mean image, for all bands."""
    threshold: float = 0.5
    """Binary head: probability from which a pixel is the second class."""
    best_iou: BestThreshold | None = None
    """Binary head, trained with `threshold: best_iou`: how its threshold was chosen."""
    provenance: dict[str, Any] = {}
    """Where the model comes from: run, digests, versions, epoch, scores, pixels of the training part, class weights."""

    def conflicts(self) -> Iterator[Conflict]:
        """Statistics that are missing, or of another number of bands."""
        expected = {"standardize": (self.bands, self.bands), "standardize_image": (0, 1)}.get(self.normalize, (0, 0))
        received = (len(self.mean or ()), len(self.deviation or ()))
        if received != expected:
            message = (
                f"{self.normalize} of {self.bands} bands has {expected[0]} means and {expected[1]} deviations, "
                f"received {received[0]} and {received[1]}"
            )
            yield Conflict(("normalize",), message)

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the files that make up the bundle."""
        return (BUNDLE_FILE, MODEL_FILE, *((MEAN_IMAGE_FILE,) if self.normalize == "standardize_image" else ()))

    def refuse_windows(self, folder: Path) -> None:
        """Refuse to predict by windows what was normalised by the place of a pixel in its tile.

        Raises:
            InputError: the model was trained with `normalize: standardize_image`.
        """
        if self.normalize == "standardize_image":
            raise InputError(
                f"{folder}: predict.fit: window does not go with this model, whose pixels are normalised by a mean "
                "image of whole tiles (normalize: standardize_image). Expected `fit: resize`, or a model trained with "
                "normalize: standardize."
            )


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

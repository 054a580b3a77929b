"""How a model's scores become masks: what a predict job asks for, worked out for the classes of one model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segbatch.errors import InputError
from segbatch.spec.bundle import BundleInfo
from segbatch.spec.inference import Predict
from segbatch.spec.labels import Labels
from segbatch.spec.problems import did_you_mean, listed
from segbatch.spec.section import Conflict, KeyPath, dotted

ANY_SIZE = 2**63 - 1
"""Pixels of a hole where `all` are filled."""


@dataclass(frozen=True)
class MaskRules:
    """How scores become a mask; tuples have one entry a class, by index."""

    threshold: float
    """Binary head: probability from which a pixel is the second class."""
    thresholds: tuple[float, ...] | None
    """Multiclass head: what each class's probability is divided by before the largest is taken; they sum to 1. None:
    by nothing."""
    fill_holes: tuple[int, ...]
    """Holes of up to this many pixels in the class are filled; 0 for none."""
    min_region: tuple[int, ...]
    """Regions of the class with fewer pixels are given away; 0 or 1 for none."""

    @property
    def cleaning(self) -> bool:
        """Whether masks change after the decision."""
        return any(self.fill_holes) or max(self.min_region) > 1


def rules_of(settings: Predict, info: BundleInfo, path: Path) -> MaskRules:
    """Work out the rules of a job for one model.

    Args:
        settings: the job's `predict`.
        info: what is known of the model.
        path: of the model, for messages.

    Raises:
        InputError: the settings ask for what the model does not have.
    """
    labels = info.labels
    for conflict in class_conflicts(settings, labels):
        raise InputError(f"{path}: {dotted(('predict', *conflict.at))}: {conflict.message}")
    _square(settings, info, path)
    threshold = _threshold(settings, info, path)
    shares: tuple[float, ...] | None = None
    if settings.thresholds:
        shares = _shares(settings.thresholds, labels)
        threshold = shares[1]
    elif len(labels.scored) == 2 and threshold != 0.5:
        shares = (1 - threshold, threshold)
    holes = {name: ANY_SIZE if most == "all" else most for name, most in _by_class(settings.fill_holes, labels).items()}
    least = _by_class(settings.min_region, labels)
    return MaskRules(
        threshold,
        shares if info.head == "multiclass" else None,
        tuple(holes.get(name, 0) for name in labels.names),
        tuple(least.get(name, 0) for name in labels.names),
    )


def class_conflicts(settings: Predict, labels: Labels) -> Iterator[Conflict]:
    """Yield what settings ask of classes that do not exist; paths are relative to `predict`."""
    count = len(labels.scored)
    if settings.threshold is not None and count != 2:
        message = f"`threshold` is for two classes; these labels have {count} that are not ignored"
        yield Conflict(("threshold",), f"{message}. For more there are `thresholds`" if count > 2 else message)
    for key in ("thresholds", "fill_holes", "min_region"):
        given = getattr(settings, key)
        for name in given if isinstance(given, dict) else ():
            if name not in labels.names:
                message = f"no class {name!r} that is not ignored.{did_you_mean(name, labels.names)}"
                yield Conflict((key, name), f"{message} Expected one of: {listed(labels.names, 'or')}.")
    if len(settings.thresholds) >= count and set(settings.thresholds) >= set(labels.names):
        message = f"leave out at least one of the {count} classes: those not named share what is left to 1"
        yield Conflict(("thresholds",), message)


def _by_class(given: int | Mapping[str, Any] | None, labels: Labels) -> Mapping[str, Any]:
    if isinstance(given, int):
        return dict.fromkeys(labels.names, given)
    return given or {}


def _shares(given: Mapping[str, float], labels: Labels) -> tuple[float, ...]:
    rest = (1 - sum(given.values())) / (len(labels.scored) - len(given))
    return tuple(given.get(name, rest) for name in labels.names)


def _threshold(settings: Predict, info: BundleInfo, path: Path) -> float:
    if settings.threshold != "best_iou":
        return info.threshold if settings.threshold is None else settings.threshold
    if info.best_iou is None:
        raise InputError(
            f"{path}: predict.threshold: best_iou needs a threshold that training chose, and this model has none. "
            "Train it with `train.threshold: best_iou`, or give a number."
        )
    return info.best_iou.threshold


def _square(settings: Predict, info: BundleInfo, path: Path) -> None:
    height, width = info.input
    if "quarter_turns" in settings.test_time_augmentation and settings.fit == "resize" and height != width:
        raise InputError(
            f"{path}: predict.test_time_augmentation: quarter_turns needs a network with a square input, received one "
            f"of {height}x{width}. Expected `[flips]`, or `fit: window`."
        )


def counted_names(labels: Labels) -> tuple[KeyPath, ...]:
    """What the names and the number of scored classes rest on; paths are relative to the job."""
    return tuple(("labels", "classes", at, key) for at in range(len(labels.classes)) for key in ("ignore", "name"))

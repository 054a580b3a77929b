"""The ways to better masks, one by one, so that `segbatch bench` can say what each costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from segbatch.errors import InputError
from segbatch.models.bundle import Bundle
from segbatch.spec.inference import Predict
from segbatch.spec.mask_rules import rules_of

PLAIN = "none of them"
REGION = 20
"""Pixels of the regions that are looked for; the cost hardly depends on it."""


def options_of(bundle: Bundle, settings: Predict) -> dict[str, Predict]:
    """A job's settings without any of the options, then with each of those that the model can have.

    Args:
        bundle: the model.
        settings: of the job; options that it has are left out, `fit` and the like stay.

    Returns:
        By the option as a job file has it, below `predict`.
    """
    last = bundle.info.labels.names[-1]
    options: Mapping[str, Mapping[str, Any]] = {
        PLAIN: {},
        "test_time_augmentation: [flips]": {"test_time_augmentation": ("flips",)},
        "test_time_augmentation: [quarter_turns]": {"test_time_augmentation": ("quarter_turns",)},
        "test_time_augmentation: [flips, quarter_turns]": {"test_time_augmentation": ("flips", "quarter_turns")},
        f"thresholds: {{{last}: 0.3}}": {"thresholds": {last: 0.3}},
        f"fill_holes: {{{last}: all}}": {"fill_holes": {last: "all"}},
        f"min_region: {REGION}": {"min_region": REGION},
        "probabilities: 8": {"probabilities": 8},
        "probabilities: 16": {"probabilities": 16},
    }
    every: dict[str, Any] = {key: Predict.model_fields[key].default for option in options.values() for key in option}
    plain = settings.model_copy(update={**every, "threshold": None})
    found = {name: plain.model_copy(update=dict(values)) for name, values in options.items()}
    return {name: asked for name, asked in found.items() if _possible(bundle, asked)}


def _possible(bundle: Bundle, asked: Predict) -> bool:
    try:
        rules_of(asked, bundle.info, bundle.path)
    except InputError:
        return False
    return True

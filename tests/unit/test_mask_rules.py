"""What a predict job asks of masks, worked out for a model's classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from segbatch.errors import InputError
from segbatch.spec.bundle import BestThreshold, BundleInfo
from segbatch.spec.inference import Predict
from segbatch.spec.labels import Labels
from segbatch.spec.mask_rules import ANY_SIZE, MaskRules, rules_of

CHOSEN = BestThreshold(threshold=0.375, iou=0.5, iou_at_half=0.4, tp=2, fp=1, fn=1)


def labels(*names: str) -> Labels:
    classes = [{"id": at, "name": name, "color": (at, at, at)} for at, name in enumerate(names)]
    return Labels.model_validate({"name": "some", "classes": classes})


TWO, FOUR = labels("ground", "building"), labels("road", "car", "tree", "sky")


def rules(classes: Labels, head: str, predict: dict[str, Any], **info: Any) -> MaskRules:
    settings = {"name": "m", "labels": classes, "head": head, "input": (32, 32)} | info
    return rules_of(Predict.model_validate(predict), BundleInfo.model_validate(settings), Path("m"))


def test_nothing_asked_is_the_bundles_own_threshold_and_no_cleaning() -> None:
    assert rules(TWO, "binary", {}, threshold=0.3) == MaskRules(0.3, None, (0, 0), (0, 0))
    assert not rules(TWO, "binary", {}).cleaning
    assert rules(FOUR, "multiclass", {}).thresholds is None


def test_a_given_threshold_wins_over_the_chosen_one() -> None:
    kept = {"threshold": 0.375, "best_iou": CHOSEN}
    assert rules(TWO, "binary", {}, **kept).threshold == 0.375
    assert rules(TWO, "binary", {"threshold": "best_iou"}, **kept).threshold == 0.375
    assert rules(TWO, "binary", {"threshold": 0.5}, **kept).threshold == 0.5


def test_classes_not_named_share_what_is_left() -> None:
    assert rules(FOUR, "multiclass", {"thresholds": {"car": 0.4}}).thresholds == pytest.approx((0.2, 0.4, 0.2, 0.2))
    assert rules(FOUR, "multiclass", {"thresholds": {"car": 0.4, "sky": 0.1}}).thresholds == pytest.approx(
        (0.25, 0.4, 0.25, 0.1)
    )


@pytest.mark.parametrize(
    "asked", [{"threshold": 0.3}, {"thresholds": {"building": 0.3}}, {"thresholds": {"ground": 0.7}}]
)
def test_two_classes_have_one_rule_however_it_is_said(asked: dict[str, Any]) -> None:
    assert rules(TWO, "binary", asked).threshold == pytest.approx(0.3)
    assert rules(TWO, "multiclass", asked).thresholds == pytest.approx((0.7, 0.3))


def test_pixels_count_for_every_class_or_for_one() -> None:
    found = rules(TWO, "binary", {"fill_holes": {"building": "all"}, "min_region": 9})
    assert (found.fill_holes, found.min_region, found.cleaning) == ((0, ANY_SIZE), (9, 9), True)
    assert rules(TWO, "binary", {"fill_holes": 5, "min_region": {"ground": 1}}).fill_holes == (5, 5)
    assert not rules(TWO, "binary", {"min_region": 1}).cleaning


@pytest.mark.parametrize(
    ("classes", "asked", "said"),
    [
        (TWO, {"threshold": "best_iou"}, "needs a threshold that training chose, and this model has none"),
        (FOUR, {"threshold": 0.4}, "predict.threshold: `threshold` is for two classes; these labels have 4"),
        (FOUR, {"min_region": {"cra": 4}}, r"predict.min_region.cra: no class 'cra' .* Did you mean 'car'\?"),
        (TWO, {"thresholds": {"ground": 0.2, "building": 0.3}}, "leave out at least one of the 2 classes"),
    ],
)
def test_what_the_model_does_not_have_is_refused(classes: Labels, asked: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        rules(classes, "multiclass" if classes is FOUR else "binary", asked)


@pytest.mark.parametrize(("asked", "bits"), [(False, 0), (True, 8), (8, 8), (16, 16), ("16", 16), ("true", 8)])
def test_bits_of_probabilities(asked: object, bits: int) -> None:
    assert Predict.model_validate({"probabilities": asked}).probability_bits == bits


def test_quarter_turns_need_a_square() -> None:
    oblong = {"input": (32, 48)}
    with pytest.raises(
        InputError, match=r"needs a network with a square input, received one of 32x48. Expected `\[flips\]`"
    ):
        rules(TWO, "binary", {"test_time_augmentation": ["quarter_turns"]}, **oblong)
    rules(TWO, "binary", {"test_time_augmentation": ["flips"]}, **oblong)
    rules(TWO, "binary", {"test_time_augmentation": ["quarter_turns"], "fit": "window"}, **oblong)

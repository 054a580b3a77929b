"""The 19-class protocol against cityscapesScripts' own evaluation, through mask files."""

from __future__ import annotations

import math
from copy import copy
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from segbatch.evaluation.counts import confusion
from segbatch.evaluation.read import read_pair
from segbatch.evaluation.scores import Scores, score
from segbatch.spec.labels import Labels

SHAPE = (37, 53)


@pytest.fixture
def labels() -> Labels:
    """The built-in 19 classes, whose raw values are the label ids that Cityscapes' files hold."""
    text = (files("segbatch.spec") / "builtin_labels" / "cityscapes-19.yaml").read_text(encoding="utf-8")
    return Labels.model_validate(yaml.safe_load(text))


def make_pairs(folder: Path, ids: list[int]) -> list[tuple[Path, Path]]:
    """Blocks of label ids of all 34 kinds; three pixels in ten are predicted as something else."""
    rng = np.random.default_rng(4)
    pairs = []
    for number in range(3):
        coarse = rng.choice(ids, (8, 11)).astype(np.uint8)
        truth = coarse.repeat(5, axis=0).repeat(5, axis=1)[: SHAPE[0], : SHAPE[1]]
        noise = rng.choice(ids, truth.shape).astype(np.uint8)
        predicted = np.where(rng.random(truth.shape) < 0.3, noise, truth)
        pair = folder / f"truth-{number}.png", folder / f"predicted-{number}.png"
        for path, mask in zip(pair, (truth, predicted), strict=True):
            Image.fromarray(mask).save(path)
        pairs.append(pair)
    return pairs


def theirs(pairs: list[tuple[Path, Path]]) -> dict[str, float]:
    """IoU by class name as cityscapesScripts says; NaN for classes that it does not score."""
    from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as script  # noqa: N813

    arguments = copy(script.args)
    arguments.evalInstLevelScore, arguments.JSONOutput, arguments.quiet = False, False, True
    predictions = [str(predicted) for _, predicted in pairs]
    return script.evaluateImgLists(predictions, [str(truth) for truth, _ in pairs], arguments)["classScores"]


def ours(pairs: list[tuple[Path, Path]], labels: Labels) -> Scores:
    table, classes = labels.raw_to_index(), len(labels.names)
    maps = (read_pair(truth, predicted, table, table) for truth, predicted in pairs)
    return score(sum((confusion(*pair, classes) for pair in maps), start=np.zeros((classes, classes + 1), np.int64)))


def check(pairs: list[tuple[Path, Path]], labels: Labels) -> Scores:
    expected, scores = theirs(pairs), ours(pairs, labels)
    scored = {name: iou for name, iou in expected.items() if not math.isnan(iou)}
    defined = {name: iou for name, iou in zip(labels.names, scores.iou, strict=True) if iou is not None}
    assert defined == pytest.approx(scored, rel=1e-12)
    return scores


def test_iou_of_the_19_classes(tmp_path: Path, labels: Labels) -> None:
    scores = check(make_pairs(tmp_path, list(range(34))), labels)
    assert len(scores.entered) == 19
    # Predictions of ids outside the 19 on scored ground are misses of the true class and nobody's false positives.
    assert sum(scores.fn) > sum(scores.fp)


def test_classes_that_occur_nowhere(tmp_path: Path, labels: Labels) -> None:
    scores = check(make_pairs(tmp_path, [0, 7, 8, 11, 21, 26]), labels)
    assert [labels.names[index] for index in scores.entered] == ["road", "sidewalk", "building", "vegetation", "car"]

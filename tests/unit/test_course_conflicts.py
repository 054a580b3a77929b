"""What a job's schedules, phases and metrics may not say, each refused at its key."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.job_files import problems_at

JOB = "kind: train\nlabels: buildings\ndata: {images: i, masks: m}\n"
DROPS = "model: {dropout: 0.3}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("optimizer: {schedule: {name: cosine, rates: [[2, 0.1]]}}",
         ["4:38: `rates` belongs to the schedule step, not to cosine"]),
        ("optimizer: {schedule: {name: step}}",
         ["4:24: a step schedule needs `rates`, such as [[20, 1e-4]]: 1e-4 once 20 epochs are done"]),
        ("optimizer: {schedule: {name: step, rates: [[5, 0.1], [3, 0.01]]}}",
         ["4:36: expected epochs that grow from pair to pair, received [5, 3]"]),
        ("optimizer: {schedule: {name: step, rates: [[10, 0.1]]}}",
         ["4:36: the rate from epoch 10 on is never used: there are 10 epochs"]),
        ("optimizer: {schedule: {name: step, rates: {10: 0.1}}}",
         ["4:43: expected a list of [epochs done, learning rate], such as [[20, 1e-4]], received a mapping",
          "4:44: expected text as a key, received a number; put it in quotes: '10'"]),
        ("optimizer: {schedule: {warmup_steps: 5, warmup_epochs: 1}}",
         ["4:24: give the warm-up in steps or in epochs, not both"]),
        ("optimizer: {schedule: {warmup_epochs: 3}}\nphases: [{epochs: 4}, {epochs: 2}]",
         ["4:24: the warm-up takes 3 epochs of 2; nothing would be left"]),
        ("optimizer: {clip: {norm: 1, value: 0.5}}",
         ["4:29: expected one of `norm`, `value` and `global_norm`, received `norm` and `value`"]),
        ("optimizer: {name: adam, momentum: 0.9}", ["4:25: `momentum` belongs to sgd and rmsprop, not to adam"]),
        ("optimizer: {name: sgd, nesterov: true}", ["4:24: `nesterov` needs a `momentum`, such as 0.9"]),
        ("train: {best: 'iou:biulding'}",
         ["4:9: these labels have no class 'biulding' that counts. Did you mean 'building'? "
          "Expected one of: background or building."]),
        ("train: {early_stop: {metric: speed}}",
         ["4:30: expected loss, accuracy, iou, dice, or one class's iou or dice such as iou:building, "
          "received 'speed'"]),
        ("train: {dropout: 0.3}", ["4:9: the network has no dropout layers: give `model.dropout` a rate above 0 too"]),
        (DROPS + "train: {dropout: [[1, 0.3], [5, 0.4]]}",
         ["5:9: expected a first pair for epoch 0, such as [[0, 0.3], [13, 0.4]]"]),
        (DROPS + "phases: [{dropout: 1.5}]",
         ["5:20: expected a number from 0 to below 1, or a list of [epochs done, rate], such as [[0, 0.3], [13, 0.4]], "
          "received 1.5"]),
        ("phases: [{epoch: 3}]", ["4:11: unknown key 'epoch' under 'phases[0]'. Did you mean 'epochs'?"]),
        ("phases: [{}, {schedule: {name: step, rates: [[3, 0.1]]}, epochs: 3}]",
         ["4:38: the rate from epoch 3 on is never used: there are 3 epochs"]),
        # What is right.
        (DROPS + "train: {epochs: 40, dropout: [[0, 0.3], [13, 0.4], [23, 0.5]], best: 'dice:building'}", []),
        ("optimizer: {schedule: {name: step, rates: [[20, 1e-4]]}}\ntrain: {epochs: 40}\n"
         "phases: [{}, {learning_rate: 1e-4, schedule: {}}, {epochs: 20, learning_rate: 1e-4, schedule: {}}]", []),
    ],
)  # fmt: skip
def test_each_is_refused_at_its_key(tmp_path: Path, text: str, expected: list[str]) -> None:
    assert problems_at(tmp_path, JOB + text) == expected

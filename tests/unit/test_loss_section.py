"""What a job file may say of losses, normalisation and labelled regions, and what it is told where it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from segbatch.spec.job import TrainJob, to_plain
from segbatch.spec.load import load_job
from segbatch.spec.loss import Loss
from segbatch.spec.problems import JobFileError

TWO = "kind: train\nlabels: buildings\ndata: {images: i, masks: m}\n"
MANY = "kind: train\nlabels: camvid\ndata: {images: i, masks: m}\n"
CLASSES = """\
labels:
  name: own
  classes:
    - {id: 0, name: road, color: '#000000'}
    - {id: 1, name: car, color: '#111111'}
    - {id: 2, name: pole, color: '#222222'}
"""
THREE = f"kind: train\ndata: {{images: i, masks: m}}\n{CLASSES}"
PREDICT = "kind: predict\nmodel: m\n"


def load(folder: Path, text: str) -> TrainJob:
    path = folder / "job.yaml"
    path.write_text(text)
    job = load_job(path, [], {}).job
    assert isinstance(job, TrainJob)
    return job


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (TWO + "loss: {gamma: 1, alpha: 0.3, beta: 0.9}",
         ["4:8: `gamma` belongs to the loss focal, not to auto",
          "4:18: `alpha` belongs to the loss focal, not to auto",
          "4:30: `beta` needs `class_weights: effective`"]),
        (TWO + "loss: {name: focal, alpha: 0.3, class_weights: rank}",
         ["4:21: `alpha` and `class_weights` both weigh the classes; keep one of them"]),
        (THREE + "loss: {name: focal, alpha: 0.3}",
         ["9:21: `alpha` is for two classes, these labels have 3; `class_weights` weigh any number of them"]),
        (TWO + "loss: {name: dice, class_weights: rank}",
         ["4:20: `class_weights` belong to cross entropies and focal, not to dice"]),
        (TWO + "loss: {name: sum, class_weights: rank, parts: [{name: auto}]}",
         ["4:19: `class_weights` belong to cross entropies and focal; give them to the parts of the sum"]),
        (TWO + "loss: {name: sum}", ["4:8: a sum needs `parts`, such as [{name: auto}, {name: dice, weight: 0.5}]"]),
        (TWO + "loss: {parts: [{name: dice}]}", ["4:8: `parts` belong to the loss sum, not to auto"]),
        (TWO + "loss: {name: sum, parts: [{name: sum}]}",
         ["4:28: a part of a sum cannot be a sum; list its parts here"]),
        (TWO + "loss: {name: sum, parts: [{name: binary_crossentropy}, {name: sparse_crossentropy}]}",
         ["4:57: binary_crossentropy and sparse_crossentropy want different channels; keep one of them"]),
        (THREE + "loss: {name: sum, parts: [{name: dice, weight: 0}, {name: binary_crossentropy}]}",
         ["9:48: expected a number above 0, received 0",
          "9:53: binary_crossentropy is for two classes; these labels have 3 that are not ignored"]),
        (THREE + "loss: {class_weights: [1, 2]}",
         ["9:8: expected 3 weights, one for each class that is not ignored (road, car and pole), received 2"]),
        (THREE + "loss: {class_weights: {cars: 2}}",
         ["9:24: no class 'cars' that is not ignored. Did you mean 'car'?"]),
        (THREE + "loss: {class_weights: {sky: 2}}",
         ["9:24: no class 'sky' that is not ignored. Expected one of road, car and pole."]),
        (THREE + "loss: {class_weights: [0, 0, 0]}", ["9:8: every class weighs 0, so nothing would be learned"]),
        (THREE + "loss: {class_weights: {road: 0, car: 0, pole: 0}}",
         ["9:8: every class weighs 0, so nothing would be learned"]),
        (THREE + "loss: {class_weights: medain}",
         ["9:23: expected rank, inverse, median or effective, a mapping of class names to weights of at least 0, or a "
          "list of such weights, one a class, received 'medain'. Did you mean 'median'?"]),
        (THREE + "loss: {name: partial_crossentropy}",
         ["9:8: partial_crossentropy is for truth that is labelled in part: it needs `data.labelled`, or labels with "
          "an ignored class or `unclaimed: ignore`"]),
        ("kind: train\nlabels: buildings\ndata: {images: i, masks: m, labelled: ./m}\n",
         ["3:29: the labelled regions are the masks themselves; name the folder of their masks"]),
        (PREDICT + "data: {images: i, labelled: r}",
         ["3:19: 'data.labelled' belongs to kind: train; this job is kind: predict"]),
        ("kind: train\nlabels: buildings\ndata: {images: i, masks: m, bands: 1}\nmodel: {normalize: imagenet}",
         ["4:9: ImageNet's mean and deviation are of 3 bands, not of 1"]),
        (TWO + "model: {encoder: mobilenet_v2, weights: imagenet, normalize: imagenet}",
         ["4:51: encoders bring 0 to 1 to what their ImageNet weights expect themselves; leave out `normalize`"]),
    ],
)  # fmt: skip
def test_impossible(tmp_path: Path, text: str, expected: list[str]) -> None:
    with pytest.raises(JobFileError) as caught:
        load(tmp_path, text)
    assert [f"{it.origin.line}:{it.origin.column}: {it.message}" for it in caught.value.problems] == expected


@pytest.mark.parametrize(
    ("text", "head"),
    [
        (TWO + "loss: {name: dice}", "binary"),
        (TWO + "loss: {name: focal, gamma: 0.5, alpha: 0.25}", "binary"),
        (TWO + "loss: {name: sum, parts: [{name: sparse_crossentropy}, {name: dice, weight: 0.5}]}", "multiclass"),
        (TWO + "loss: {name: sum, parts: [{name: focal}, {name: dice}]}", "binary"),
        (THREE + "loss: {name: focal, class_weights: {pole: 4}}", "multiclass"),
        (THREE + "loss: {class_weights: [0.2, 1, 5]}\nmodel: {normalize: standardize_image}", "multiclass"),
        (MANY + "loss: {name: partial_crossentropy, class_weights: effective, beta: 0.999999}", "multiclass"),
        ("kind: train\nlabels: buildings\ndata: {images: i, masks: m, labelled: r}\n"
         "loss: {name: partial_crossentropy}", "binary"),
        (TWO + "model: {encoder: mobilenet_v2, normalize: standardize}", "binary"),
    ],
)  # fmt: skip
def test_possible(tmp_path: Path, text: str, head: str) -> None:
    job = load(tmp_path, text)
    assert job.loss.head(len(job.labels.scored)) == head
    assert TrainJob.model_validate(to_plain(job)) == job


def test_counts_are_needed_for_schemes_alone() -> None:
    def needs(**section: object) -> bool:
        return Loss.model_validate(section).needs_counts

    assert needs(class_weights="rank")
    assert needs(name="sum", parts=[{"name": "dice"}, {"name": "focal", "class_weights": "median"}])
    assert not needs(class_weights=[1, 2])
    assert not needs(name="dice")

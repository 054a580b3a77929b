"""Pipelines in YAML: what stages take from each other, their order, and what is wrong said at its line."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from segbatch.spec.job import PredictJob, TrainJob
from segbatch.spec.pipeline import in_a_circle, in_order
from segbatch.spec.pipeline_load import LoadedPipeline, load_pipeline
from segbatch.spec.problems import JobFileError

TRAIN = {"kind": "train", "labels": "buildings", "data": {"images": "images", "masks": "masks"}}
EVALUATE = {"kind": "evaluate", "labels": "buildings", "data": {"masks": "masks", "predictions": {"folder": "made"}}}
PREDICT = {"kind": "predict", "model": "${stages.train.bundle}", "data": {"images": "archive"}}


def load(folder: Path, stages: dict[str, Any], *sets: str) -> LoadedPipeline:
    path = folder / "night.yaml"
    path.write_text(yaml.safe_dump({"kind": "pipeline", "stages": stages}, sort_keys=False))
    return load_pipeline(path, Path("/runs/night/1"), sets)


def test_a_stage_takes_what_another_makes_and_thereby_needs_it(tmp_path: Path) -> None:
    loaded = load(tmp_path, {"masks": {"job": PREDICT}, "train": {"job": TRAIN}})
    assert [(stage.name, stage.needs) for stage in loaded.stages] == [("train", ()), ("masks", ("train",))]
    predict = loaded.stages[1].job
    assert isinstance(predict, PredictJob)
    assert predict.model.bundle == "/runs/night/1/stages/train/model"
    assert predict.name == "masks"


def test_keys_of_a_job_file_may_differ_in_a_stage(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "forest.yaml").write_text(yaml.safe_dump(TRAIN | {"train": {"epochs": 9, "batch_size": 4}}))
    stage = {"job": "jobs/forest.yaml", "set": {"train": {"epochs": 2}}}
    loaded = load(tmp_path, {"train": stage}, "stages.train.set.seed=5")
    job = loaded.stages[0].job
    assert isinstance(job, TrainJob)
    assert (job.name, job.seed, job.train.epochs, job.train.batch_size) == ("forest", 5, 2, 4)
    assert job.data.root == str(tmp_path / "jobs")


def test_another_model_replaces_the_path_of_a_job_file(tmp_path: Path) -> None:
    (tmp_path / "archive.yaml").write_text(yaml.safe_dump(PREDICT | {"model": "old"}))
    stages = {"train": {"job": TRAIN}, "all": {"job": "archive.yaml", "set": {"model": "${stages.train.bundle}"}}}
    job = load(tmp_path, stages).stages[1].job
    assert isinstance(job, PredictJob)
    assert job.model.bundle.endswith("/stages/train/model")


def test_a_job_of_its_own_takes_nothing_from_stages(tmp_path: Path) -> None:
    from segbatch.spec.load import load_job

    (tmp_path / "alone.yaml").write_text(yaml.safe_dump(PREDICT))
    with pytest.raises(JobFileError, match="this job is no stage"):
        load_job(tmp_path / "alone.yaml")


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ({"a": {"job": EVALUATE, "needs": "b"}}, "there is no stage 'b'"),
        ({"a": {"job": EVALUATE, "needs": "c"}, "c": {"job": EVALUATE, "needs": "a"}}, "in a circle"),
        ({"train": {"job": PREDICT | {"model": "${stages.train.masks}"}}}, "cannot take what it makes itself"),
        ({"a": {"job": "not there.yaml"}}, "no such file"),
        ({"a": {"job": EVALUATE | {"sed": 1}}}, "Did you mean 'seed'"),
        ({"a": {"job": EVALUATE, "set": {"sede": 1}}}, "Did you mean 'seed'"),
        ({"a": {"jobs": EVALUATE}}, "Did you mean 'job'"),
        ({"a b": {"job": EVALUATE}}, "expected a name"),
        ({"train": {"job": EVALUATE}, "b": {"job": PREDICT}}, "(kind: evaluate) makes no bundle"),
        ({"b": {"job": PREDICT}}, "no stage makes ${stages.train.bundle}"),
        ({}, "expected stages by name"),
    ],
)
def test_what_is_wrong_with_a_pipeline_is_said_at_its_line(
    tmp_path: Path, stages: dict[str, Any], message: str
) -> None:
    with pytest.raises(JobFileError) as caught:
        load(tmp_path, stages)
    assert message in str(caught.value)
    assert "night.yaml" in str(caught.value)


NAMES = st.sampled_from("abcdef")


@given(st.dictionaries(NAMES, st.lists(NAMES, max_size=3).map(tuple), max_size=6))
def test_stages_come_after_what_they_need(needs: dict[str, tuple[str, ...]]) -> None:
    known = {name: tuple(need for need in before if need in needs) for name, before in needs.items()}
    circle = in_a_circle(known)
    if circle:
        assert circle[0] == circle[-1]
        assert all(after in known[before] for before, after in pairwise(circle))
        return
    order = in_order(known)
    assert sorted(order) == sorted(known)
    assert all(order.index(need) < order.index(name) for name, before in known.items() for need in before)

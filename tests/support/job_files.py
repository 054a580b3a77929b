"""Job files that tests write into the current folder, and what loading them gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from segbatch.spec.job import PredictJob, TrainJob
from segbatch.spec.load import LoadedJob, load_job
from segbatch.spec.problems import JobFileError

TRAIN = "kind: train\nlabels: buildings\ndata: {images: images, masks: masks}\n"
PREDICT = "kind: predict\nmodel: model\ndata: {images: images}\n"


def write(name: str, text: str) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def load(text: str, sets: Sequence[str] = (), environ: Mapping[str, str] | None = None) -> LoadedJob:
    return load_job(write("job.yaml", text), sets, environ or {})


def train(text: str = TRAIN, sets: Sequence[str] = (), environ: Mapping[str, str] | None = None) -> TrainJob:
    job = load(text, sets, environ).job
    assert isinstance(job, TrainJob)
    return job


def predict(text: str = PREDICT, sets: Sequence[str] = (), environ: Mapping[str, str] | None = None) -> PredictJob:
    job = load(text, sets, environ).job
    assert isinstance(job, PredictJob)
    return job


def problems(text: str, sets: Sequence[str] = (), environ: Mapping[str, str] | None = None) -> list[str]:
    with pytest.raises(JobFileError) as caught:
        load(text, sets, environ)
    return [str(problem).splitlines()[0] for problem in caught.value.problems]


def problems_at(folder: Path, text: str) -> list[str]:
    """What is wrong with a job file in a folder, each with line and column; nothing for a good one."""
    path = folder / "job.yaml"
    path.write_text(text)
    try:
        load_job(path, [], {})
    except JobFileError as error:
        return [f"{it.origin.line}:{it.origin.column}: {it.message}" for it in error.problems]
    return []

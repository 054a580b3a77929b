"""The models that a job names: paths of bundles, and registered versions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from segbatch.spec.job import Job, PredictJob, TrainJob
from segbatch.spec.model_name import CHAMPION, ModelName, is_model_name, parse_model_name


def _named(job: Job) -> Iterator[str]:
    if isinstance(job, PredictJob):
        yield job.model.bundle
    elif isinstance(job, TrainJob):
        if job.train.start_from is not None:
            yield job.train.start_from
        if job.model.weights not in (None, "imagenet"):
            yield str(job.model.weights)


def model_paths(job: Job) -> list[Path]:
    """Files and folders of the models that a job names by path."""
    return [Path(text) for text in _named(job) if not is_model_name(text)]


def model_versions(job: Job) -> list[ModelName]:
    """Registered versions that a job names, whichever is champion left out."""
    names = [parse_model_name(text) for text in _named(job) if is_model_name(text)]
    return [name for name in names if name is not None and name.version != CHAMPION]

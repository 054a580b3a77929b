"""How large a task of `predict.tasks: auto` is, and its time limit, by what was measured; the job that measures it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from segbatch.errors import InputError
from segbatch.runs.measured import Measured
from segbatch.spec.job import Job, PredictJob

MARGIN = 2.0
"""Time limit over expected time: nodes of one kind differ, and share their disks."""
USUAL_MINUTES = 60
"""Time limit of a task where the job names none."""
PILOT_BATCHES = 8
PILOT_SCENES = 2
"""Tiles of a pilot with `fit: window`, where a tile may be a whole scene."""


def unknown_speed(job: Job, measured: Sequence[Measured]) -> bool:
    """Tell whether a job's tasks depend on what nobody has measured yet."""
    return isinstance(job, PredictJob) and job.predict.tasks == "auto" and not _fitting(job, measured)


def pilot_job(job: PredictJob) -> PredictJob:
    """Return the job of a pilot: one task that computes as the job says, and tells nobody."""
    predict = job.predict.model_copy(update={"tasks": 1, "layout": "mirror"})
    return job.model_copy(update={"predict": predict, "notify": (), "keep": None, "schedule": None})


def pilot_tiles(job: PredictJob) -> int:
    """Tiles that a pilot measures with, at most."""
    return PILOT_BATCHES * job.predict.batch_size if job.predict.fit == "resize" else PILOT_SCENES


def tiles_of_a_task(job: PredictJob, measured: Sequence[Measured]) -> int:
    """Tiles that a task gets done within its time limit, with a margin.

    Args:
        job: with `tasks: auto`.
        measured: what is known of its bundle, one entry that fits at least; of several kinds of node the slowest
            counts.

    Raises:
        InputError: the limit is too short for the start of a task.
    """
    entry = _slowest(job, measured)
    seconds = _minutes(job) * 60 / MARGIN - entry.start
    if seconds * entry.rate < 1:
        raise InputError(
            f"resources.time: a task of {_minutes(job)} min, half of it kept as a margin, has no time left after its "
            f"start of {entry.start:.0f} s. Expected a longer time, or a number of `predict.tasks`."
        )
    return math.floor(seconds * entry.rate)


def with_time(job: PredictJob, measured: Sequence[Measured], tiles: int) -> PredictJob:
    """Return a job of `tasks: auto` with the time limit that goes with it; any other job, or speed, leaves it alone."""
    if job.predict.tasks != "auto" or job.resources.given("time") or unknown_speed(job, measured):
        return job
    entry = _slowest(job, measured)
    # A short list needs less than a whole task's time.
    needed = math.ceil((entry.start + tiles / entry.rate) * MARGIN / 60)
    resources = job.resources.model_copy(update={"time": max(min(needed, USUAL_MINUTES), 5)})
    return job.model_copy(update={"resources": resources})


def _minutes(job: PredictJob) -> int:
    return job.resources.time if job.resources.given("time") else USUAL_MINUTES


def _fitting(job: PredictJob, measured: Sequence[Measured]) -> list[Measured]:
    """Measurements of nodes with GPUs, for a job that asks for them; else of those without."""
    return [entry for entry in measured if bool(entry.gpus) == bool(job.resources.gpus)]


def _slowest(job: PredictJob, measured: Sequence[Measured]) -> Measured:
    return min(_fitting(job, measured), key=lambda entry: entry.rate)

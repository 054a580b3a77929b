"""How large a task of `predict.tasks: auto` is, and its time limit, by what was measured."""

from __future__ import annotations

import math
from collections.abc import Sequence

from segbatch.errors import InputError
from segbatch.runs.measured import Measured
from segbatch.spec.job import PredictJob

MARGIN = 2.0
"""Time limit over expected time: nodes of one kind differ, and share their disks."""
USUAL_MINUTES = 60
"""Time limit of a task where the job names none."""


def tiles_of_a_task(job: PredictJob, measured: Sequence[Measured]) -> int:
    """Tiles that a task gets done within its time limit, with a margin.

    Args:
        job: with `tasks: auto`.
        measured: what is known of its bundle; of several kinds of node the slowest counts.

    Raises:
        InputError: nothing was measured, or the limit is too short for the start of a task.
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
    """Return a job of `tasks: auto` with the time limit that goes with it; any other job as it is."""
    if job.predict.tasks != "auto" or job.resources.given("time"):
        return job
    entry = _slowest(job, measured)
    # A short list needs less than a whole task's time.
    needed = math.ceil((entry.start + tiles / entry.rate) * MARGIN / 60)
    resources = job.resources.model_copy(update={"time": max(min(needed, USUAL_MINUTES), 5)})
    return job.model_copy(update={"resources": resources})


def _minutes(job: PredictJob) -> int:
    return job.resources.time if job.resources.given("time") else USUAL_MINUTES


def _slowest(job: PredictJob, measured: Sequence[Measured]) -> Measured:
    fitting = [entry for entry in measured if bool(entry.gpus) == bool(job.resources.gpus)]
    if not fitting:
        kind = "GPUs" if job.resources.gpus else "no GPU"
        raise InputError(
            f"predict.tasks: auto needs to know how fast {job.model.bundle} is on a node with {kind}, and nothing was "
            "measured yet. Run `segbatch bench JOB --save` on such a node, or give a number of tasks."
        )
    return min(fitting, key=lambda entry: entry.rate)

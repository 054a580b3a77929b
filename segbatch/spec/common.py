"""What jobs of every kind say."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from segbatch.spec.data import Data
from segbatch.spec.inference import Report
from segbatch.spec.keep import Keep
from segbatch.spec.notify import Notices
from segbatch.spec.resources import Container, FinishResources, Output, Resources, Retries
from segbatch.spec.schedule import Schedule
from segbatch.spec.section import Expected, Section


class Common(Section):
    """What every kind of job has."""

    name: Annotated[
        str,
        Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"),
        Expected("a name of up to 100 letters, digits, '.', '_' and '-' that begins with a letter or digit"),
    ]
    """Name of the job and of the folder of its runs. Defaults to the job file's name."""
    data: Data
    """Images and masks."""
    resources: Resources = Resources()
    """What one task needs."""
    finish: FinishResources = FinishResources()
    """What the job on a cluster that merges and reports needs."""
    retries: Retries = Retries()
    """How often a task is tried again on a cluster."""
    container: Container = Container()
    """The image that tasks run in."""
    output: Output = Output()
    """Where results go."""
    report: Report = Report()
    """What the report shows."""
    schedule: Schedule | None = None
    """When it starts by itself, once `segbatch schedule add` was said."""
    notify: Notices = ()
    """Who is told when a run ends. Defaults to those of the site."""
    keep: Keep | None = None
    """What `segbatch prune` leaves of its runs. Defaults to what the site says, else to everything."""
    profile: str | None = None
    """Part of the site file that this job uses."""
    slurm: dict[str, str | int | bool] = {}
    """Further sbatch options, passed on as they are."""
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    """Seed of everything random."""

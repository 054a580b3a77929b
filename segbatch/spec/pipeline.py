"""A pipeline: jobs that follow each other and hand on what they made."""

from __future__ import annotations

import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from segbatch.spec.keep import Keep
from segbatch.spec.notify import Notices, notices_conflicts
from segbatch.spec.problems import did_you_mean, listed
from segbatch.spec.resources import Output
from segbatch.spec.schedule import Schedule
from segbatch.spec.section import Conflict, Expected, FileName, Section

PRODUCTS: dict[str, tuple[str, ...]] = {
    "train": ("bundle", "run"),
    "predict": ("masks", "run"),
    "evaluate": ("run",),
    "gate": ("run",),
}
"""What a stage hands on, by the kind of its job."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,49}")


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


Needs = Annotated[
    tuple[str, ...],
    BeforeValidator(_as_list, json_schema_input_type=tuple[str, ...] | str),
    Expected("the name of a stage, or a list of names"),
]


class Stage(Section):
    """One step of a pipeline."""

    job: Annotated[dict[str, Any] | FileName, Expected("a job file, or the keys of a job")]
    """The job: a file, relative to the pipeline's, or its keys. `${stages.NAME.bundle}` stands for what another stage
    makes: `bundle` (train), `masks` (predict) or `run` (any)."""
    needs: Needs = ()
    """Stages that must have ended well before; those whose products the job names need not be said."""
    set: dict[str, Any] = {}
    """Keys of the job that differ here: mappings merge, other values replace."""


class PipelineJob(Section):
    """Run jobs one after the other, each when what it needs has ended well."""

    kind: Literal["pipeline"]
    """What the job does."""
    name: Annotated[
        str,
        Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"),
        Expected("a name of up to 100 letters, digits, '.', '_' and '-' that begins with a letter or digit"),
    ]
    """Name of the pipeline and of the folder of its runs. Defaults to the file's name."""
    stages: Annotated[dict[str, Stage], Field(min_length=1), Expected("stages by name")]
    """The stages by name."""
    output: Output = Output()
    """Where results go."""
    schedule: Schedule | None = None
    """When it starts by itself, once `segbatch schedule add` was said."""
    notify: Notices = ()
    """Who is told when a run of the whole ends. Defaults to those of the site."""
    keep: Keep | None = None
    """What `segbatch prune` leaves of its runs. Defaults to what the site says, else to everything."""
    profile: str | None = None
    """Part of the site file that the pipeline uses, for stages whose jobs name none."""

    def conflicts(self) -> Iterator[Conflict]:
        """Names that cannot be folders, and stages that need others which are not there, or each other."""
        for name, stage in self.stages.items():
            if not _NAME.fullmatch(name):
                expected = "a name of up to 50 letters, digits, '_' and '-' that begins with a letter or digit"
                yield Conflict(("stages", name), f"expected {expected}, received {name!r}")
            for position, need in enumerate(stage.needs):
                if need not in self.stages:
                    hint = did_you_mean(need, [*self.stages])
                    message = f"there is no stage {need!r}.{hint or ' Stages: ' + listed([*self.stages]) + '.'}"
                    yield Conflict(("stages", name, "needs", position), message)
        yield from notices_conflicts(self.notify)
        for position, notice in enumerate(self.notify):
            if notice.through == "slurm" and notice.mail and notice.on != "failure":
                message = (
                    "of a pipeline SLURM can only tell that it failed, since it is many jobs; say `on: failure`, or "
                    "`through: sendmail`"
                )
                yield Conflict(("notify", position, "through"), message)
        circle = in_a_circle({name: stage.needs for name, stage in self.stages.items()})
        if circle:
            yield Conflict(("stages", circle[0], "needs"), f"stages need each other in a circle: {' -> '.join(circle)}")


def in_a_circle(needs: dict[str, tuple[str, ...]]) -> list[str]:
    """Return stages that need each other, the first one again at the end; empty if the stages can be put in order."""
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return []


def in_order(needs: dict[str, tuple[str, ...]]) -> list[str]:
    """Put stages in order, each after those that it needs and otherwise as they were written."""
    placed: list[str] = []
    while len(placed) < len(needs):
        placed.append(next(name for name, before in needs.items() if name not in placed and {*before} <= {*placed}))
    return placed

"""Where and with what a job runs: resources, container, output."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from segbatch.spec.section import Conflict, Expected, FileName, Section

_MEMORY = re.compile(r"^(\d+(?:\.\d+)?)\s*([KMGT])(?:i?B)?$", re.IGNORECASE)
_CLOCK = re.compile(r"^(?:(\d+)-)?(\d{1,3}):(\d{2})(?::(\d{2}))?$")
_BIND = re.compile(r"^/[^:\0]*:/[^:\0]*(:r[ow])?$")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
"""What environment variables may be called."""
_SPAN = re.compile(r"^(\d+(?:\.\d+)?)\s*(m|min|h|d)$")


def _memory(value: object) -> object:
    if not isinstance(value, str) or value.isdecimal():
        return value
    match = _MEMORY.match(value)
    if match is None:
        raise ValueError('expected a memory size such as "16G" or "500M"')
    return int(float(match[1]) * 1024 ** ("KMGT".index(match[2].upper()) - 1))


def _minutes(value: object) -> object:
    if not isinstance(value, str) or value.isdecimal():
        return value
    if match := _SPAN.match(value):
        return round(float(match[1]) * {"m": 1, "min": 1, "h": 60, "d": 1440}[match[2]])
    if match := _CLOCK.match(value):
        days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
        return days * 1440 + hours * 60 + minutes + (1 if seconds else 0)
    raise ValueError('expected a time such as "4h", "30min" or "1-12:00:00"')


Megabytes = Annotated[
    int,
    Field(ge=1),
    BeforeValidator(_memory, json_schema_input_type=str | int),
    Expected('a memory size such as "16G" or "500M", or megabytes'),
]
Minutes = Annotated[
    int,
    Field(ge=1),
    BeforeValidator(_minutes, json_schema_input_type=str | int),
    Expected('a time of a minute or more such as "4h", "30min" or "1-12:00:00", or minutes'),
]


class Resources(Section):
    """What one task needs."""

    gpus: Annotated[int, Field(ge=0)] = 0
    """GPUs of a node."""
    gpu_type: str | None = None
    """Kind of GPU, in the site's own words."""
    nodes: Annotated[int, Field(ge=1)] = 1
    """Nodes that work together on a train job."""
    cpus: Annotated[int, Field(ge=1)] = 2
    """Processors."""
    memory: Megabytes = 8192
    """Memory: "16G", "500M" or megabytes."""
    time: Minutes = 240
    """Time limit: "4h", "30min", "1-12:00:00" or minutes."""
    scratch: bool = False
    """Copy a task's tiles to the node's own disk before they are read; for storage that answers slowly. The folder is
    the site's `scratch`, or that for temporary files."""
    priority: Literal["low", "normal", "high"] = "normal"
    """The site maps this to a QOS or a partition."""

    def conflicts(self) -> Iterator[Conflict]:
        """A kind of GPU without GPUs."""
        if self.gpu_type is not None and self.gpus == 0:
            yield Conflict(("gpu_type",), "`gpu_type` needs `gpus`, which is 0", (("gpus",),))


class FinishResources(Section):
    """What the job on a cluster that merges and reports needs; it uses one processor and no GPU."""

    memory: Megabytes | None = None
    """Memory. Defaults to that of a task, but not more than 4 GB."""
    time: Minutes | None = None
    """Time limit. Defaults to that of a task, but not less than 30 minutes."""


class Retries(Section):
    """How often a task is tried again on a cluster before a person must look."""

    interruptions: Annotated[int, Field(ge=0)] = 100
    """Further attempts of a task after time limits and preemptions, which lose nothing."""
    failures: Annotated[int, Field(ge=0)] = 1
    """Further attempts of a task that failed."""
    quick: Annotated[int, Field(ge=1)] = 60
    """Seconds: a task that fails sooner speaks against its node."""
    bad_node: Annotated[int, Field(ge=1)] = 3
    """Tasks that fail quickly on one node before the others keep away from it."""
    stop_share: Annotated[float, Field(gt=0, le=1)] | None = 0.5
    """Share of failing tasks, once ten fail, at which those that have not started are called off; null never does."""


class Container(Section):
    """The image that tasks run in."""

    runtime: Literal["apptainer", "podman", "docker", "pyxis", "slurm-oci", "none"] = "none"
    """Program that starts the image."""
    image: FileName | None = None
    """Image file or name."""
    binds: tuple[str, ...] = ()
    """Further folders to show inside, as `outside:inside[:ro]`."""
    env: tuple[str, ...] = ()
    """Names of environment variables to pass on."""

    def conflicts(self) -> Iterator[Conflict]:
        """A runtime without an image, settings without a runtime, and binds that say nothing.

        `runtime: none` beside an image is how a container is switched off.
        """
        if self.runtime != "none" and self.image is None:
            message = f"`runtime: {self.runtime}` needs an `image`, a file or a name"
            yield Conflict(("runtime",), message, (("image",),))
        if "runtime" not in self.model_fields_set:
            for key in self.given("image", "binds", "env"):
                message = f"`{key}` needs a `runtime`, such as apptainer"
                yield Conflict((key,), message, (("runtime",),))
        for position, bind in enumerate(self.binds):
            if not _BIND.match(bind):
                message = f"expected `outside:inside` or `outside:inside:ro`, both absolute paths, received {bind!r}"
                yield Conflict(("binds", position), message)
        for position, name in enumerate(self.env):
            if not VARIABLE.fullmatch(name):
                yield Conflict(("env", position), f"expected the name of an environment variable, received {name!r}")


class Output(Section):
    """Where results go."""

    runs: FileName | None = None
    """Folder that holds all runs, relative to the job file. Defaults to `runs` in the current folder."""
    registry: FileName | None = None
    """Folder of the registered models, relative to the job file. Defaults to the site's, or `registry` beside the
    runs."""

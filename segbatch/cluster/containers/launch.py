"""What every container runtime is given, and what it makes of that."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from segbatch.cluster.containers.mounts import Mount

WORKER = ("/opt/venv/bin/python", "-P", "-m", "segbatch.worker")
"""Command of a task inside the image, but for its run and number."""
PREFIXES = ("TF_", "SEGBATCH_")
"""Environment variables whose names begin so are passed on."""


@dataclass(frozen=True)
class Variable:
    """A shell variable that only the node knows."""

    name: str


Word = str | tuple[str | Variable, ...]
"""One word of a command; where it is made of parts, the node's shell fills in the variables."""


def shell_word(word: object) -> str:
    """Quote one word for a shell."""
    if not isinstance(word, tuple):
        return shlex.quote(str(word))
    return "".join(f'"${{{part.name}}}"' if isinstance(part, Variable) else shlex.quote(str(part)) for part in word)


@dataclass(frozen=True)
class Owner:
    """The user whom files written by a task shall belong to."""

    user: int
    group: int
    groups: tuple[int, ...] = ()
    """Further groups, by which data may be readable."""


@dataclass(frozen=True)
class Request:
    """What a task needs of a container."""

    image: str
    folder: Path
    """The run's, in which the task works."""
    owner: Owner
    mounts: tuple[Mount, ...] = ()
    """Parents before what lies in them; without the node's scratch folder."""
    names: tuple[str, ...] = ()
    """Environment variables to pass on where they are set, beside those of `PREFIXES`."""
    values: Mapping[str, str] = field(default_factory=dict)
    """Environment variables that are the container's own."""
    gpus: int = 0
    nodes: int = 1
    scratch: bool = False
    """Show the folder that SEGBATCH_SCRATCH names, under the same path."""

    @property
    def network(self) -> bool:
        """Tell whether tasks talk to each other; all others get no network."""
        return self.nodes > 1


@dataclass(frozen=True)
class Launch:
    """How a task is started in a container."""

    argv: tuple[str, ...]
    """Command on the node; the run's folder and the task's number follow."""
    steps: tuple[Word, ...] = ()
    """Further options of srun; where there are any, the finishing task needs srun too."""
    lines: tuple[str, ...] = ()
    """Lines of the batch script that come before."""


class Runtime(Protocol):
    """One way of starting an image."""

    @property
    def name(self) -> str:
        """Its name in `container.runtime`."""

    @property
    def part_of_slurm(self) -> bool:
        """Tell whether SLURM starts the image, so that nothing but SLURM can."""

    def launch(self, request: Request) -> Launch:
        """Say how to start a task; writes nothing.

        Raises:
            InputError: something, such as a path, cannot be said to this runtime.
        """

    def prepare(self, request: Request) -> None:
        """Write what the runtime reads from the run's folder.

        Raises:
            SegbatchError: it cannot be written.
        """

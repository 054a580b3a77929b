"""Pyxis, NVIDIA's plug-in that gives srun containers by enroot."""

from __future__ import annotations

import re

from segbatch.cluster.containers.launch import WORKER, Launch, Request, Variable, Word
from segbatch.cluster.containers.mounts import Mount
from segbatch.cluster.containers.paths import refuse_odd, refuse_unless
from segbatch.cluster.containers.step_environment import EXPORT, step_lines

_PLAIN = re.compile(r"[\w./@%+=-]+")
_WHY = "pyxis takes letters, digits and . / _ @ % + = - in paths, since it splits at , and : and enroot at spaces"


class Pyxis:
    """Starts squashfs files and images of a registry as part of a job step."""

    name = "pyxis"
    part_of_slurm = True

    def launch(self, request: Request) -> Launch:
        """Say how to start a task; its options go to srun."""
        refuse_odd(request.mounts)
        folder = Mount(str(request.folder), str(request.folder), True, "run folder")
        refuse_unless([folder, *request.mounts], _PLAIN, _WHY)
        mounts = ",".join(map(_mount, request.mounts))
        scratch = Variable("SCRATCH")
        shown: Word = f"--container-mounts={mounts}"
        if request.scratch:
            shown = (f"--container-mounts={mounts},", scratch, ":", scratch)
        steps: tuple[Word, ...] = (
            f"--container-image={request.image}",
            shown,
            f"--container-workdir={request.folder}",
            "--no-container-mount-home",
            "--no-container-remap-root",
            "--no-container-entrypoint",
            "--container-readonly",
            EXPORT,
        )
        return Launch(WORKER, steps, step_lines(request.names, request.values))

    def prepare(self, request: Request) -> None:
        """Write nothing."""


def _mount(mount: Mount) -> str:
    return f"{mount.source}:{mount.target}" + ("" if mount.writable else ":ro")

"""The runtimes, by their names in `container.runtime`."""

from __future__ import annotations

from segbatch.cluster.containers.apptainer import Apptainer
from segbatch.cluster.containers.docker import Docker
from segbatch.cluster.containers.launch import Runtime
from segbatch.cluster.containers.podman import Podman
from segbatch.cluster.containers.pyxis import Pyxis
from segbatch.cluster.containers.slurm_oci import SlurmOci
from segbatch.spec.resources import Container

RUNTIMES: tuple[Runtime, ...] = (Apptainer(), Podman(), Docker(), Pyxis(), SlurmOci())


def runtime_of(container: Container) -> Runtime:
    """Return what starts a container's image; `none` has nothing."""
    return next(runtime for runtime in RUNTIMES if runtime.name == container.runtime)

"""What podman and docker have in common."""

from __future__ import annotations

from collections.abc import Iterator

from segbatch.cluster.containers.launch import WORKER, Request
from segbatch.cluster.containers.node_script import ALL_OF_PREFIXES
from segbatch.cluster.containers.paths import as_fields, refuse_odd

ENVIRONMENT = f"""
for name in {ALL_OF_PREFIXES}; do options+=(--env "$name"); done"""


def run_options(request: Request) -> Iterator[str]:
    """Yield options of `run` for a task without privileges, network or a root that it could write to.

    The task shares the host's process numbers and host name, by which later commands tell whether it still runs and
    `cancel` finds it; and its shared memory, which several GPUs of a task talk through.
    """
    refuse_odd(request.mounts)
    yield from ("--rm", "--read-only", "--tmpfs", "/tmp")
    yield from ("--cap-drop", "all", "--security-opt", "no-new-privileges", "--security-opt", "label=disable")
    yield from ("--network", "host" if request.network else "none", "--pid", "host", "--uts", "host", "--ipc", "host")
    yield from ("--user", f"{request.owner.user}:{request.owner.group}", "--workdir", str(request.folder))


def mounts_and_environment(request: Request) -> Iterator[str]:
    """Yield options of `run` for what a task sees; a name alone stands for the node's value, if it has one."""
    for mount in request.mounts:
        yield from ("--mount", as_fields(mount))
    for name in request.names:
        # The GPUs that are shown count from 0 inside.
        if name != "CUDA_VISIBLE_DEVICES":
            yield from ("--env", name)
    for name, value in request.values.items():
        yield from ("--env", f"{name}={value}")


def image_and_command(request: Request) -> tuple[str, ...]:
    """Return the last words of `run`: image and command, in place of the image's own entry point."""
    program, *arguments = WORKER
    return ("--entrypoint", program, request.image, *arguments)

"""Podman, rootless or not."""

from __future__ import annotations

from segbatch.cluster.containers.engines import ENVIRONMENT, image_and_command, mounts_and_environment, run_options
from segbatch.cluster.containers.launch import Launch, Request
from segbatch.cluster.containers.node_script import GPUS, SCRATCH, node_script

_DEVICES = """
IFS=, read -ra list <<<"$devices"
for device in "${list[@]}"; do options+=(--device "nvidia.com/gpu=$device"); done"""
_START = """
exec podman run "${options[@]}" "$@"
"""


class Podman:
    """Starts images of the user's own store; GPUs come by NVIDIA's CDI names."""

    name = "podman"
    part_of_slurm = False

    def launch(self, request: Request) -> Launch:
        """Say how to start a task."""
        options = [*run_options(request), *_who(request), *mounts_and_environment(request)]
        gpus = GPUS + _DEVICES if request.gpus else ""
        pieces = (ENVIRONMENT, gpus, SCRATCH if request.scratch else "", _START)
        return Launch(node_script(*pieces, arguments=[*options, *image_and_command(request)]))

    def prepare(self, request: Request) -> None:
        """Write nothing."""


def _who(request: Request) -> list[str]:
    """Options by which the user is the same inside, with the groups that data may be readable by."""
    if request.owner.user == 0:
        return [word for group in request.owner.groups for word in ("--group-add", str(group))]
    # Rootless podman cannot name the user's other groups; crun keeps them when told so, other runtimes ignore it.
    return ["--userns", "keep-id", "--annotation", "run.oci.keep_original_groups=1"]

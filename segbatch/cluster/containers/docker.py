"""Docker."""

from __future__ import annotations

from segbatch.cluster.containers.engines import ENVIRONMENT, image_and_command, mounts_and_environment, run_options
from segbatch.cluster.containers.launch import Launch, Request
from segbatch.cluster.containers.node_script import GPUS, SCRATCH, node_script

# Docker reads the value of --gpus as a CSV line, so that a list of devices wants quotes of its own.
_DEVICES = """
if [[ $devices == all ]]; then options+=(--gpus all)
elif [[ -n $devices ]]; then options+=(--gpus "\\"device=$devices\\""); fi"""
_START = """
exec docker run "${options[@]}" "$@"
"""


class Docker:
    """Starts images through Docker's daemon."""

    name = "docker"
    part_of_slurm = False

    def launch(self, request: Request) -> Launch:
        """Say how to start a task."""
        groups = [word for group in request.owner.groups for word in ("--group-add", str(group))]
        options = [*run_options(request), *groups, *mounts_and_environment(request)]
        gpus = GPUS + _DEVICES if request.gpus else ""
        pieces = (ENVIRONMENT, gpus, SCRATCH if request.scratch else "", _START)
        return Launch(node_script(*pieces, arguments=[*options, *image_and_command(request)]))

    def prepare(self, request: Request) -> None:
        """Write nothing."""

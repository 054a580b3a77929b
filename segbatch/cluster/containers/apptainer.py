"""Apptainer, and Singularity where a site still calls it so."""

from __future__ import annotations

from segbatch.cluster.containers.launch import WORKER, Launch, Request
from segbatch.cluster.containers.node_script import ALL_OF_PREFIXES, SCRATCH, node_script
from segbatch.cluster.containers.paths import as_fields, refuse_odd

# Names alone stand for the node's value; Apptainer's --env would read commas and quotes in values its own way.
_ENVIRONMENT = f"""
program=apptainer prefix=APPTAINERENV
if ! command -v apptainer >/dev/null && command -v singularity >/dev/null; then
    program=singularity prefix=SINGULARITYENV
fi
for name in {ALL_OF_PREFIXES}; do export "${{prefix}}_$name=${{!name}}"; done
while [[ $1 != -- ]]; do
    if [[ $1 == *=* ]]; then export "${{prefix}}_$1"; elif [[ -v $1 ]]; then export "${{prefix}}_$1=${{!1}}"; fi
    shift
done
shift"""
_START = """
exec "$program" --quiet exec "${options[@]}" "$@"
"""


class Apptainer:
    """Starts SIF files and sandbox folders; the task stays a process of the job, so that signals reach it."""

    name = "apptainer"
    part_of_slurm = False

    def launch(self, request: Request) -> Launch:
        """Say how to start a task; everything but the named variables and mounts stays outside."""
        refuse_odd(request.mounts)
        options = ["--cleanenv", "--no-mount", "home,cwd", "--pwd", str(request.folder)]
        if not request.network:
            options += ["--net", "--network", "none"]
        if request.gpus:
            options.append("--nv")
        for mount in request.mounts:
            options += ["--mount", as_fields(mount)]
        variables = [*request.names, *(f"{name}={value}" for name, value in request.values.items())]
        pieces = (_ENVIRONMENT, SCRATCH if request.scratch else "", _START)
        return Launch(node_script(*pieces, arguments=[*variables, "--", *options, request.image, *WORKER]))

    def prepare(self, request: Request) -> None:
        """Write nothing."""

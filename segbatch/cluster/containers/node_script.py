"""Pieces of shell that a node runs in front of a runtime, for what only the node knows.

They are constant; all that a job says reaches them as arguments, and all that the node says as variables.
"""

from __future__ import annotations

from collections.abc import Sequence

from segbatch.cluster.containers.launch import PREFIXES

ALL_OF_PREFIXES = " ".join(f'"${{!{prefix}@}}"' for prefix in PREFIXES)
"""Names of the variables that begin as those that are passed on."""

SCRATCH = """
path=${SEGBATCH_SCRATCH//\\"/\\"\\"}
options+=(--mount "type=bind,\\"source=$path\\",\\"destination=$path\\"")"""
"""Shows the node's scratch folder under its own path."""

GPUS = """
devices=${SLURM_STEP_GPUS:-${SLURM_JOB_GPUS:-${CUDA_VISIBLE_DEVICES-all}}}"""
"""The GPUs of this task by the node's own numbers: CUDA_VISIBLE_DEVICES may count only those of the job."""


def node_script(*pieces: str, arguments: Sequence[str]) -> tuple[str, ...]:
    """Return the command that runs the pieces with `arguments`; the last piece becomes the runtime by `exec`."""
    return ("bash", "-c", "options=()" + "".join(pieces), "segbatch", *arguments)

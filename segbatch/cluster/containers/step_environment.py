"""The environment of containers that SLURM itself starts."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from segbatch.cluster.containers.launch import PREFIXES, Variable, Word

EXPORT: Word = ("--export=", Variable("passed_on"))
"""Option of srun that passes on the variables named by `step_lines`, and no others but SLURM's own."""


def step_lines(names: Sequence[str], values: Mapping[str, str]) -> tuple[str, ...]:
    """Return lines of the batch script that set `values` and gather the names of what is passed on."""
    listed = ",".join([*names, *values])
    prefixes = " ".join(f'"${{!{prefix}@}}"' for prefix in PREFIXES)
    return (
        *(f"export {name}={shlex.quote(value)}" for name, value in values.items()),
        f"passed_on={listed}",
        f"for name in {prefixes}; do passed_on+=,$name; done",
    )

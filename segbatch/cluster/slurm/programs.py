"""Running a program that may hang, and never letting it hang us."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_LEAKS = ("SLURM_", "SBATCH_", "SQUEUE_", "SACCT_", "SCANCEL_", "SRUN_", "SALLOC_", "SINFO_", "PMIX_", "PMI_")
_KEPT = {"SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_CLUSTERS", "SLURM_JWT", "SLURM_SACK_KEY", "SLURM_SACK_JWKS"}
_AFTER_KILL_S = 1.0


@dataclass(frozen=True)
class Outcome:
    """What a program left."""

    code: int | None
    """Exit code; None: it was killed because it did not end in time."""
    out: str
    err: str


def scrubbed(environ: Mapping[str, str]) -> dict[str, str]:
    """Take out what an enclosing job or the user's shell says to SLURM's programs; it would override the script."""
    return {name: value for name, value in environ.items() if name in _KEPT or not name.startswith(_LEAKS)}


def execute(argv: Sequence[str], environ: Mapping[str, str], cwd: Path | None, timeout_s: float) -> Outcome:
    """Run a program to its end, or kill it and all it started after `timeout_s` seconds.

    In a session of its own: a Ctrl-C at the terminal is not theirs, and sites that wrap SLURM's programs in scripts
    have grandchildren that would keep the pipes open.
    """
    process = subprocess.Popen(
        argv,
        env=environ,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=max(timeout_s, 0.01))
    except subprocess.TimeoutExpired:
        return Outcome(None, *_kill(process))
    except BaseException:
        _kill(process)
        raise
    return Outcome(process.returncode, out, err)


def _kill(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Kill a program with its children and return what it had said."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    try:
        return process.communicate(timeout=_AFTER_KILL_S)
    except subprocess.TimeoutExpired:
        # Something has left the session and still holds the pipes.
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        return "", ""

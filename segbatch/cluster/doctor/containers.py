"""Programs that start containers: which of them are there."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from segbatch.cluster.doctor.asking import located, run_program
from segbatch.cluster.doctor.finding import Finding, State
from segbatch.spec.site import Site

PROGRAMS: Mapping[str, tuple[str, ...]] = {
    "apptainer": ("apptainer", "singularity"),
    "podman": ("podman",),
    "docker": ("docker",),
}
"""Runtimes, as a job names them, that are programs; the first of each that is found is taken."""
SLURM_RUNTIMES = ("pyxis", "slurm-oci")
"""Runtimes that are parts of SLURM."""
RUNTIMES = (*PROGRAMS, *SLURM_RUNTIMES)


@dataclass(frozen=True)
class Found:
    """A runtime that is there."""

    name: str
    words: str
    """Its version or its path."""
    trouble: str = ""
    """Why it will not work all the same."""


def look_for_runtimes(environ: Mapping[str, str], srun_help: str, settings_file: str) -> list[Found]:
    """Look for container runtimes on this machine.

    Args:
        environ: environment whose PATH counts.
        srun_help: what `srun --help` says; empty without SLURM.
        settings_file: path of slurm.conf as the controller has it; empty where nobody knows.
    """
    found = []
    for name, programs in PROGRAMS.items():
        program = next((program for program in programs if located(program, environ)), "")
        if program:
            found.append(_look_at(name, program, environ))
    return found + slurm_runtimes(srun_help, _oci_settings(settings_file))


def _look_at(name: str, program: str, environ: Mapping[str, str]) -> Found:
    version = run_program([program, "--version"], environ)
    words = version.value.strip().splitlines()[0] if version.value and version.value.strip() else program
    trouble = version.trouble
    if name == "docker" and not trouble:
        # The program alone starts nothing.
        trouble = run_program(["docker", "version", "--format", "{{.Server.Version}}"], environ).trouble
    return Found(name, words, trouble)


def slurm_runtimes(srun_help: str, oci_settings: str) -> list[Found]:
    """Read from `srun --help` which runtimes SLURM itself has; its own needs an oci.conf as well."""
    found = []
    if "--container-image" in srun_help:
        found.append(Found("pyxis", "srun has --container-image"))
    if re.search(r"--container(?![-\w])", srun_help) and oci_settings:
        found.append(Found("slurm-oci", oci_settings))
    return found


def _oci_settings(settings_file: str) -> str:
    path = Path(settings_file).with_name("oci.conf") if settings_file else None
    return str(path) if path is not None and path.exists() else ""


def check_runtimes(found: Sequence[Found], site: Site, backend: str) -> list[Finding]:
    """Judge which jobs in containers this place can run."""
    wanted = site.container.runtime if site.container else "none"
    rows = [_row(runtime, wanted, backend) for runtime in found]
    names = {runtime.name for runtime in found}
    missing = [name for name in RUNTIMES if name not in names]
    if wanted != "none" and wanted in missing:
        rows.insert(0, _missing(wanted, backend))
    rest = [name for name in missing if name != wanted]
    if rest:
        consequence = "runs no job that asks for one of them"
        if backend == "slurm":
            consequence += " here; nodes may have more (--deep)"
        rows.append(Finding("containers", "not found", "ok", ", ".join(rest), consequence))
    return rows


def _row(runtime: Found, wanted: str, backend: str) -> Finding:
    words = f"{runtime.words}: {runtime.trouble}" if runtime.trouble else runtime.words
    if not runtime.trouble:
        return Finding(
            "containers",
            runtime.name,
            "ok",
            words,
            "starts tasks with it, as the site file says"
            if runtime.name == wanted
            else f"can start jobs with `container: {{runtime: {runtime.name}}}`",
        )
    if runtime.name == wanted:
        state: State = "warn" if backend == "slurm" else "bad"
        return Finding("containers", runtime.name, state, words, "cannot start tasks with it, as the site file wants")
    return Finding("containers", runtime.name, "ok", words, f"cannot start jobs that want {runtime.name} here")


def _missing(wanted: str, backend: str) -> Finding:
    if wanted in SLURM_RUNTIMES or backend == "local":
        consequence = f"cannot start tasks: install {wanted}, or choose another `container.runtime` in the site file"
        return Finding("containers", wanted, "bad", "wanted by the site file and not here", consequence)
    consequence = "expects it on the nodes; --deep looks there"
    return Finding("containers", wanted, "warn", "wanted by the site file and not on this machine", consequence)

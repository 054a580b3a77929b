"""Refusing a job in a container before anything is written or submitted."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from segbatch.cluster.containers.image import image_digest, refuse_missing_image, refuse_other_image
from segbatch.cluster.containers.inside import Inside, inside_of_plan, inside_of_run
from segbatch.cluster.doctor.asking import run_program
from segbatch.cluster.doctor.containers import Found, look_for_runtimes
from segbatch.cluster.slurm.programs import scrubbed
from segbatch.errors import InputError
from segbatch.runs.plan import Plan
from segbatch.runs.run import Run
from segbatch.spec.site import Site

_PREVIEW = "RUN"


def available_runtimes(environ: Mapping[str, str] = os.environ) -> list[Found]:
    """Look for container runtimes: programs of this machine, and parts of its SLURM."""
    srun_help = run_program(["srun", "--help"], environ).value or ""
    config = run_program(["scontrol", "show", "config"], environ).value or "" if srun_help else ""
    settings = next(
        (line.partition("=")[2].strip() for line in config.splitlines() if line.startswith("SLURM_CONF ")), ""
    )
    return look_for_runtimes(scrubbed(environ), srun_help, settings)


def check_plan(plan: Plan, site: Site, backend: str, environ: Mapping[str, str] = os.environ) -> str:
    """Refuse a plan whose container could not be started, and return its image's digest; empty outside containers.

    Raises:
        InputError: the runtime or the image is not here, or a path cannot be shown.
    """
    inside = inside_of_plan(plan, site, environ)
    if inside is None:
        return ""
    _refuse(inside, site, plan.runs_root.resolve() / plan.job.name / _PREVIEW, backend, environ)
    return image_digest(inside.container)


def check_run(run: Run, site: Site, backend: str, *, force: bool, environ: Mapping[str, str] = os.environ) -> None:
    """Refuse to go on with a run whose container could not be started, or is another one than before.

    Raises:
        InputError: it cannot, or is and `force` was not said.
    """
    inside = inside_of_run(run, site, environ)
    if inside is not None:
        _refuse(inside, site, run.paths.folder, backend, environ)
    refuse_other_image(run, inside.container if inside else None, force=force)


def _refuse(inside: Inside, site: Site, folder: Path, backend: str, environ: Mapping[str, str]) -> None:
    container = inside.container
    if inside.runtime.part_of_slurm and backend != "slurm":
        raise InputError(
            f"container.runtime of {inside.said_by}: {container.runtime} is part of SLURM, and this job would run on "
            "this machine. Choose apptainer, podman or docker here, or --backend slurm."
        )
    refuse_missing_image(container, inside.said_by)
    inside.launch(folder)
    # Nodes may get it from a module, which this machine has not loaded.
    if not (backend == "slurm" and (site.modules or site.prolog) and not inside.runtime.part_of_slurm):
        _refuse_missing_runtime(inside, backend, environ)


def _refuse_missing_runtime(inside: Inside, backend: str, environ: Mapping[str, str]) -> None:
    wanted = inside.container.runtime
    found = available_runtimes(environ)
    if any(runtime.name == wanted and not runtime.trouble for runtime in found):
        return
    trouble = next((f" does not work here: {runtime.trouble}" for runtime in found if runtime.name == wanted), "")
    usable = ", ".join(runtime.name for runtime in found if not runtime.trouble) or "none"
    if inside.runtime.part_of_slurm:
        cause = {"pyxis": "srun has no --container-image", "slurm-oci": "SLURM has no oci.conf"}[wanted]
        trouble = trouble or f" is not part of this SLURM ({cause})"
    hint = ""
    if backend == "slurm" and not inside.runtime.part_of_slurm:
        hint = " If nodes have it, say so with `modules` or `prolog` in the site file, such as `prolog: ['type NAME']`."
    raise InputError(
        f"container.runtime of {inside.said_by}: {wanted}{trouble or ' is not installed here'}. "
        f"Runtimes here: {usable} (see `segbatch doctor`). Install it, or choose another `container.runtime`."
        + hint.replace("NAME", wanted)
    )

"""From a plan to the text of its batch scripts; a pure function of values."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

import segbatch
from segbatch.errors import Exit, InputError
from segbatch.runs.plan import Plan
from segbatch.spec.site import Site

WARNING_S = 120
"""Seconds before a time limit at which a task is told to stop: time for one batch or one checkpoint."""
PREVIEW_RUN = "RUN"


def template_folder() -> Path:
    """Folder of the built-in templates: inside the installed package, or beside it in a checkout."""
    package = Path(segbatch.__file__).parent
    installed = package / "slurm"
    return installed if installed.is_dir() else package.parent / "slurm"


def _one_line(value: object) -> str:
    text = str(value)
    if "\n" in text or "\r" in text or "\0" in text:
        raise InputError(f"a batch script cannot hold {text!r}: expected no line breaks.")
    return text


def _directive(value: object) -> str:
    """Quote a value for an #SBATCH line; sbatch reads quotes as a shell does, and expands nothing."""
    return shlex.quote(_one_line(value))


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(template_folder()),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters["sh"] = lambda value: shlex.quote(str(value))
    environment.filters["directive"] = _directive
    environment.filters["oneline"] = _one_line
    return environment


def directives(plan: Plan, site: Site, run_folder: Path) -> dict[str, Any]:
    """Return the #SBATCH options of a plan's tasks, in order; None stands for an option without a value."""
    resources = plan.job.resources
    options: dict[str, Any] = {
        "job-name": plan.job.name,
        "output": f"{run_folder}/logs/%A_%a.log",
        "open-mode": "append",
        "nodes": resources.nodes,
        "ntasks-per-node": 1,
        "cpus-per-task": resources.cpus,
        "mem": f"{resources.memory}M",
        "time": resources.time,
        "signal": f"B:USR1@{WARNING_S}",
        "requeue": None,
    }
    if plan.tasks > 1 or plan.job.kind == "predict":
        options["array"] = f"0-{plan.tasks - 1}"
    else:
        options["output"] = f"{run_folder}/logs/%j.log"
    options |= _gpu_options(plan, site)
    options |= _site_options(site)
    return options | dict(site.slurm) | dict(plan.job.slurm)


def _gpu_options(plan: Plan, site: Site) -> dict[str, Any]:
    resources = plan.job.resources
    if not resources.gpus:
        return {}
    kind = f"{resources.gpu_type}:" if resources.gpu_type else ""
    if site.gpu_flavour == "gres":
        return {"gres": f"gpu:{kind}{resources.gpus}"}
    return {site.gpu_flavour: f"{kind}{resources.gpus}"}


def _site_options(site: Site) -> dict[str, Any]:
    named = {
        "account": site.account,
        "partition": site.partition,
        "qos": site.qos,
        "constraint": site.constraint,
        "reservation": site.reservation,
        "exclude": site.exclude,
    }
    return {key: value for key, value in named.items() if value is not None}


def render_scripts(plan: Plan, site: Site, run_folder: Path | None = None) -> Mapping[str, str]:
    """Render the batch scripts of a plan: `task` and `finish`.

    Args:
        plan: what is to be done.
        site: what is true of the cluster.
        run_folder: the run's folder; before there is one, a placeholder in its parent.

    Raises:
        InputError: a value would break out of its line.
    """
    folder = run_folder or plan.runs_root / plan.job.name / PREVIEW_RUN
    environment = _environment()
    shared = {
        "run_folder": str(folder),
        "site": site,
        "command": [site.python or "python3", "-P", "-m", "segbatch.worker"],
        "cpus": plan.job.resources.cpus,
        "offset": 0,
        "scratch": (site.scratch or "/tmp") if plan.job.resources.scratch else None,
        "interrupted_code": int(Exit.INTERRUPTED),
    }
    finish = {
        "job-name": f"{plan.job.name}-finish",
        "output": f"{folder}/logs/finish-%j.log",
        "time": 60,
        **_site_options(site),
        **site.slurm,
    }
    return {
        "task": environment.get_template("task.sh.j2").render(directives=directives(plan, site, folder), **shared),
        "finish": environment.get_template("finish.sh.j2").render(directives=finish, **shared),
    }

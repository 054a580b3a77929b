"""From values to the text of batch scripts; pure functions."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import jinja2

import segbatch
from segbatch.cluster.containers.inside import Inside
from segbatch.cluster.containers.launch import Launch, shell_word
from segbatch.errors import Exit, InputError
from segbatch.spec.job import Job, PredictJob
from segbatch.spec.notify import Notices, slurm_addresses
from segbatch.spec.site import Site

FINISH_MINUTES = 30
FINISH_MEGABYTES = 4096
CODES = {
    "rejected": int(Exit.REJECTED),
    "interrupted": int(Exit.INTERRUPTED),
    "bad_input": int(Exit.BAD_INPUT),
    "too_many_rejected": int(Exit.TOO_MANY_REJECTED),
}
_VARIABLE = re.compile(r"\$(?:[A-Za-z_][A-Za-z0-9_]*|\{[A-Za-z_][A-Za-z0-9_]*(?::-[A-Za-z0-9_./-]*)?\})")


@dataclass(frozen=True)
class Order:
    """One array of jobs to be asked of SLURM: some tasks of a run, or its finishing task."""

    run_folder: Path
    round: int
    token: str
    """Comes back from the queue in the job's comment."""
    role: Literal["tasks", "finish"] = "tasks"
    offset: int = 0
    """Task number = array index + offset."""
    indexes: str = "0"
    """Array indexes as sbatch takes them: "0-9,12"."""
    at_once: int | None = None
    """Tasks at once, at most."""
    after: str = ""
    """Dependency as sbatch takes it: "afterany:12:13"."""
    hold: bool = False

    @property
    def finish(self) -> bool:
        """Tell whether this is the task that merges and reports."""
        return self.role == "finish"


def comment(token: str) -> str:
    """Comment by which a job of ours is known in the queue."""
    return f"segbatch:{token}"


def template_folder() -> Path:
    """Folder of the built-in templates: inside the installed package, or beside it in a checkout."""
    package = Path(segbatch.__file__).parent
    installed = package / "slurm"
    return installed if installed.is_dir() else package.parent / "slurm"


def _directive(value: object) -> str:
    """Quote a value for an #SBATCH line; sbatch reads quotes as a shell does, and expands nothing."""
    text = str(value)
    if "\n" in text or "\r" in text or "\0" in text:
        raise InputError(f"a batch script cannot hold {text!r}: expected no line breaks.")
    return shlex.quote(text)


def _expanded(value: str) -> str:
    """Quote text in which the node's shell expands variables ($NAME, ${NAME}, ${NAME:-default}), and nothing else."""
    return "".join(_expanded_parts(value)) or "''"


def _expanded_parts(value: str) -> Iterator[str]:
    last = 0
    for match in _VARIABLE.finditer(value):
        yield shlex.quote(value[last : match.start()]) if match.start() > last else ""
        yield f'"{match[0]}"'
        last = match.end()
    yield shlex.quote(value[last:]) if last < len(value) else ""


def directives(job: Job, site: Site, order: Order) -> dict[str, Any]:
    """Return the #SBATCH options of an order, in order; None stands for an option without a value."""
    options: dict[str, Any] = {
        "job-name": f"{job.name}-finish" if order.finish else job.name,
        "comment": comment(order.token),
        "array": order.indexes + (f"%{order.at_once}" if order.at_once else ""),
        # Relative to the folder that sbatch is called in, the run's: a path cannot be misread there.
        "output": "logs/%A_%a.log",
        "open-mode": "append",
    }
    options |= _finish_resources(job) if order.finish else _resources(job, site)
    options |= _mail(notices(job, site)) if order.finish else {}
    options |= {"signal": f"B:{site.warning.signal}@{site.warning.seconds}", "requeue": None}
    if order.after:
        options |= {"dependency": order.after, "kill-on-invalid-dep": "yes"}
    if order.hold:
        options["hold"] = None
    options |= _site_options(job, site, order)
    # Options of a job may be about its GPUs, which the finishing task has none of.
    options |= dict(site.slurm) | ({} if order.finish else dict(job.slurm))
    return {name: None if value is True else value for name, value in options.items() if value is not False}


def notices(job: Job, site: Site) -> Notices:
    """Who is told of a run's end: those the job names, else the site's."""
    return job.notify or site.notify


def _mail(told: Notices) -> dict[str, Any]:
    """Options by which SLURM itself writes a mail; it takes one address."""
    asked = [notice for notice in told if notice.mail and notice.through == "slurm"]
    if not asked:
        return {}
    kinds = ("END", "FAIL") if any(notice.on == "end" for notice in asked) else ("FAIL",)
    return {"mail-user": slurm_addresses(told)[0], "mail-type": ",".join((*kinds, "INVALID_DEPEND"))}


def _teller(job: Job, site: Site, order: Order) -> list[str]:
    """Command that tells of the run's end from the finishing job's script; empty where nobody is to be told."""
    if not order.finish or all(notice.through == "slurm" for notice in notices(job, site)):
        return []
    return [*worker_argv(site)[:-1], "segbatch", "notify", str(order.run_folder), "--at-end"]


def _finish_resources(job: Job) -> dict[str, Any]:
    memory = job.finish.memory or min(job.resources.memory, FINISH_MEGABYTES)
    minutes = job.finish.time or max(job.resources.time, FINISH_MINUTES)
    return {"nodes": 1, "ntasks": 1, "cpus-per-task": 1, "mem": f"{memory}M", "time": minutes}


def _resources(job: Job, site: Site) -> dict[str, Any]:
    resources = job.resources
    return {
        "nodes": resources.nodes,
        "ntasks-per-node": 1,
        "cpus-per-task": resources.cpus,
        "mem": f"{resources.memory}M",
        "time": resources.time,
        **_gpu_options(job, site),
    }


def _gpu_options(job: Job, site: Site) -> dict[str, Any]:
    resources = job.resources
    if not resources.gpus:
        return {}
    name = site.gpu_types.get(resources.gpu_type or "", resources.gpu_type)
    kind = f"{name}:" if name else ""
    if site.gpu_flavour == "gres":
        return {"gres": f"gpu:{kind}{resources.gpus}"}
    return {site.gpu_flavour: f"{kind}{resources.gpus}"}


def _site_options(job: Job, site: Site, order: Order) -> dict[str, Any]:
    names = ("account", "partition", "qos", "constraint", "reservation", "exclude")
    options = {name: getattr(site, name) for name in names}
    if order.finish:
        # It needs no special node, and must not queue for one.
        options |= {"constraint": None, "partition": site.finish_partition or site.partition}
    elif priority := site.priorities.get(job.resources.priority):
        options |= priority.model_dump(exclude_none=True)
    return {name: value for name, value in options.items() if value is not None}


def worker_argv(site: Site) -> list[str]:
    """Command of a task, but for its run and number."""
    # -P: a file in the user's folder must not stand in for a module of that name.
    return [site.python or sys.executable, "-P", "-m", "segbatch.worker"]


def render_script(job: Job, site: Site, order: Order, inside: Inside | None = None) -> str:
    """Render the batch script of an order.

    Args:
        job: the job.
        site: the cluster.
        order: what is asked for.
        inside: the container in which tasks run; None runs them outside.

    Raises:
        InputError: a value would break out of its line, or a site's own template cannot be used.
    """
    resources = job.resources
    options = directives(job, site, order)
    launch = inside.launch(order.run_folder, finish=order.finish) if inside else Launch(tuple(worker_argv(site)))
    values = {
        "order": order,
        "job": job,
        "site": site,
        "directives": options,
        "retries": job.retries,
        "codes": CODES,
        "nodes": resources.nodes,
        "steps": [*_steps(job, site, order), *launch.steps],
        "command": launch.argv,
        "container": launch,
        "scratch": (site.scratch or "${TMPDIR:-/tmp}") if resources.scratch else "",
        "teller": _teller(job, site, order),
        "excluded": str(options.get("exclude", "")),
    }
    name = "finish" if order.finish else "train" if job.kind == "train" else "predict"
    own = getattr(site.templates, name)
    try:
        return _environment(own).get_template(Path(own).name if own else f"{name}.sh.j2").render(values)
    except jinja2.TemplateNotFound as error:
        raise InputError(f"templates.{name}: {own}: there is no template {error}.") from error
    except jinja2.TemplateError as error:
        line = f", line {error.lineno}" if isinstance(error, jinja2.TemplateSyntaxError) else ""
        raise InputError(f"templates.{name}: {own or name}{line}: the template cannot be used: {error}") from error


def _steps(job: Job, site: Site, order: Order) -> list[str]:
    """Options of srun; it takes neither size nor processors from the batch job in every version."""
    nodes, cpus = (1, 1) if order.finish else (job.resources.nodes, job.resources.cpus)
    gpus = {} if order.finish else _gpu_options(job, site)
    return [
        f"--nodes={nodes}",
        f"--ntasks={nodes}",
        f"--cpus-per-task={cpus}",
        *(f"--{name}={value}" for name, value in gpus.items()),
        "--kill-on-bad-exit=1",
    ]


def render_template(name: str, values: dict[str, Any]) -> str:
    """Render one of the built-in templates."""
    return _environment(None).get_template(name).render(values)


@cache
def _environment(own: str | None) -> jinja2.Environment:
    """Templates of the site's own may include and import the built-in parts."""
    folders = [*([Path(own).parent] if own else []), template_folder()]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folders),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
        # The usual {# is how bash counts: ${#list[@]}.
        comment_start_string="{--",
        comment_end_string="--}",
    )
    environment.filters["sh"] = shell_word
    environment.filters["directive"] = _directive
    environment.filters["expanded"] = _expanded
    return environment


def tasks_at_once(job: Job) -> int | None:
    """Tasks of a run that may be at work together; None for no limit."""
    return job.predict.concurrency if isinstance(job, PredictJob) else None

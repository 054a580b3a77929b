"""The tiny job by which a node tells about itself: its options are those of a task, its script a file in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from segbatch.cluster.doctor.containers import PROGRAMS
from segbatch.cluster.doctor.interpreter import SCRIPT as PYTHON_SCRIPT
from segbatch.cluster.doctor.interpreter import tasks_python
from segbatch.cluster.doctor.partitions import gpus_of, task_partitions
from segbatch.cluster.render import Order, directives, render_template
from segbatch.cluster.slurm.rows import Partition
from segbatch.runs.files import write_text
from segbatch.spec.job import KINDS
from segbatch.spec.site import Site

JOB = "segbatch-doctor"
SCRIPT = "probe.sbatch"
CODES = {"no_folder": 71, "no_file": 72, "not_writable": 73}
"""Exit codes of a probe that cannot say anything in the folder."""
MINUTES = 10
MEGABYTES = 2048
PATIENCE_S = 60
"""Seconds that one side waits for a file of the other."""
LEFT_S = 120
"""Seconds, beyond waiting and running, after which SLURM drops a probe that nobody waits for any more."""
_GPU_OPTIONS = ("gres", "gpus-per-node", "gpus-per-task")


@dataclass(frozen=True)
class Probe:
    """A probe that could be sent."""

    folder: Path
    token: str
    """Comes back in the job's comment."""
    gpus: int
    timeout_s: float
    """Seconds that somebody waits for it."""


def default_gpus(partitions: Sequence[Partition], site: Site) -> int:
    """GPUs that a probe asks for: one where the tasks' partitions have any."""
    return int(any(gpus_of(partition) for partition in task_partitions(partitions, site)))


def probe_text(probe: Probe, site: Site) -> str:
    """Render the batch script.

    Raises:
        InputError: a value of the site cannot stand in a script.
    """
    resources = {"gpus": probe.gpus, "cpus": 1, "memory": MEGABYTES, "time": MINUTES, "scratch": True}
    data = {"kind": "predict", "name": JOB, "data": {"images": "."}, "model": ".", "resources": resources}
    options = directives(KINDS["predict"].model_validate(data), site, Order(probe.folder, 1, probe.token))
    for name in ("array", "signal", "requeue", "open-mode"):
        options.pop(name, None)
    # The folder may not be there on the node, which is what the script finds out; its log is its own affair.
    options |= {"output": "/dev/null", "no-requeue": None}
    # Whatever becomes of the one who waits, nothing stays in the queue for ever.
    options["deadline"] = f"now+{int(probe.timeout_s) + 60 * MINUTES + LEFT_S}"
    gpus = [f"--{name}={options[name]}" for name in _GPU_OPTIONS if probe.gpus and name in options]
    runtime = site.container.runtime if site.container else "none"
    return render_template(
        "probe.sh.j2",
        {
            "directives": options,
            "site": site,
            "folder": probe.folder,
            "token": probe.token,
            "patience": PATIENCE_S,
            "codes": CODES,
            "runtimes": PROGRAMS,
            "steps": ["--nodes=1", "--ntasks=1", "--cpus-per-task=1", *gpus],
            "scratch": site.scratch or "${TMPDIR:-/tmp}",
            "python": tasks_python(site, "slurm") if runtime == "none" else "",
        },
    )


def write_probe(probe: Probe, site: Site) -> None:
    """Write the probe's folder, which must exist: its script, and the file that the node must see.

    Raises:
        InputError: a value of the site cannot stand in a script.
        OSError: the folder cannot be written.
    """
    write_text(probe.folder / SCRIPT, probe_text(probe, site))
    write_text(probe.folder / PYTHON_SCRIPT.name, PYTHON_SCRIPT.read_text(encoding="utf-8"))
    write_text(probe.folder / "here", probe.token)

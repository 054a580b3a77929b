"""Where a run's tasks go: this machine or SLURM, and the objects that take them there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Literal

from segbatch.cluster.slurm.client import Slurm
from segbatch.cluster.slurm.limits import Limits, read_limits
from segbatch.cluster.slurm.queue import QueueView
from segbatch.cluster.slurm.scheduler import SlurmScheduler
from segbatch.errors import InputError
from segbatch.runs.ledger import submissions
from segbatch.runs.run import Run
from segbatch.spec.site import Site

Backend = Literal["local", "slurm"]
CONFIGURATIONS = ("/etc/slurm/slurm.conf", "/etc/slurm-llnl/slurm.conf", "/run/slurm/conf/slurm.conf")


def choose_backend(asked: str | None, site: Site, environ: Mapping[str, str] = os.environ) -> Backend:
    """Decide where tasks run: what was asked for, what the site says, or SLURM where it is set up.

    Raises:
        InputError: SLURM was asked for and its programs are not here.
    """
    wanted = asked or site.backend
    found = shutil.which("sbatch", path=environ.get("PATH")) is not None
    if wanted == "slurm" and not found:
        raise InputError(
            "backend slurm: the program sbatch was not found. Run this on a login node of the cluster (perhaps after "
            "`module load slurm`), or choose this machine with --backend local."
        )
    if wanted == "auto":
        return "slurm" if found and _configured(environ) else "local"
    return "slurm" if wanted == "slurm" else "local"


def _configured(environ: Mapping[str, str]) -> bool:
    """Tell whether SLURM's programs know a cluster; a controller that is down for the moment counts as one."""
    return "SLURM_CONF" in environ or any(Path(path).exists() for path in CONFIGURATIONS) or Slurm().ping()


def backend_of(run: Run, asked: str | None, site: Site) -> Backend:
    """Where the next tasks of a run go: where its last ones went, unless something else is asked for."""
    before = submissions(run.paths)
    if asked is None and before:
        return "slurm" if before[-1].facts.get("backend") == "slurm" else "local"
    return choose_backend(asked, site)


def slurm_scheduler(site: Site, *, force: bool = False) -> SlurmScheduler:
    """Build the scheduler of this site; nothing is asked of SLURM before it is needed."""
    slurm = Slurm()

    @cache
    def limits() -> Limits:
        folder = cache_folder()
        return read_limits(slurm, site.limits, folder, account=site.account or "", qos=site.qos or "")

    return SlurmScheduler(slurm, site, queue_view(site, slurm), limits, force=force)


def queue_view(site: Site, slurm: Slurm | None = None) -> QueueView:
    """Build the view of the queue that all commands of this user share."""
    return QueueView(slurm or Slurm(), site.min_poll_seconds, cache_folder())


def cache_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Folder of what was asked of schedulers before."""
    base = environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "segbatch"

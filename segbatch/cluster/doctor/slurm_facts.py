"""What SLURM says of itself: asked once, each question with an answer or the reason for none."""

from __future__ import annotations

import getpass
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segbatch.cluster.doctor.asking import Answer, ask, located, run_program
from segbatch.cluster.slurm.client import Slurm
from segbatch.cluster.slurm.limits import Limits, read_limits
from segbatch.cluster.slurm.rows import Partition
from segbatch.spec.site import Site

NEEDED = ("sbatch", "squeue", "scontrol", "scancel")
USEFUL: Mapping[str, str] = {
    "sacct": "cannot ask the accounting why ended tasks ended",
    "sinfo": "cannot list partitions here",
    "srun": "cannot see which container runtimes SLURM has; tasks need it on nodes, where --deep looks",
    "sacctmgr": "cannot read the limits of accounts, nor check `account` and `qos`",
}
"""Programs that tasks do without, and what is lost."""
NOT_ASKED = "not asked, since no controller answers"
Table = list[dict[str, str]]


_UNASKED: Answer[Any] = Answer()


@dataclass(frozen=True)
class SlurmFacts:
    """All that was asked of SLURM; empty answers where it is not here."""

    programs: Mapping[str, str]
    """Paths by name, of those that are here."""
    lost_settings: str = ""
    """What SLURM_CONF names and is not there."""
    version: Answer[tuple[int, int]] = _UNASKED
    up: bool = False
    """A controller answers."""
    config: Answer[dict[str, str]] = _UNASKED
    limits: Answer[Limits] = _UNASKED
    accounts: Answer[int] = _UNASKED
    """Number of this user's rows in the accounting of the last hour."""
    partitions: Answer[list[Partition]] = _UNASKED
    associations: Answer[Table] = _UNASKED
    qos: Answer[Table] = _UNASKED
    accepted: Answer[str] = _UNASKED
    """What sbatch says of a job of this site, without queueing it."""
    srun_help: str = ""
    cron: Mapping[str, str] = field(default_factory=dict)
    """Paths of scrontab and crontab, where they are here."""

    def setting(self, name: str) -> str:
        """One of the controller's settings; empty where it is unknown."""
        return (self.config.value or {}).get(name, "")

    @property
    def keeps_accounts(self) -> bool:
        """Tell whether the site keeps accounts, reachable or not."""
        return self.setting("AccountingStorageType").endswith("slurmdbd")

    @property
    def enforced(self) -> set[str]:
        """What the accounting enforces: associations, limits, qos, safe."""
        words = {word.strip().lower() for word in self.setting("AccountingStorageEnforce").split(",")} - {"", "none"}
        return words | {"associations"} if words else words


def gather_slurm(
    slurm: Slurm, site: Site, cache: Path, try_job: Callable[[list[Partition]], str], progress: Callable[[str], object]
) -> SlurmFacts:
    """Ask SLURM everything; takes a second, or some tens of them where nobody answers.

    Args:
        slurm: its programs.
        site: the site, whose limits and account count.
        cache: folder of what commands know of limits, which is brought up to date.
        try_job: gives sbatch a job of this site for judgement, given the partitions.
        progress: told what is being asked.
    """
    environ = slurm.environ
    names = (*NEEDED, *USEFUL)
    programs = {name: path for name in names if (path := located(name, environ))}
    cron = {name: path for name in ("scrontab", "crontab") if (path := located(name, environ))}
    if not programs:
        return SlurmFacts(programs, cron=cron)
    progress("SLURM's programs")
    settings = environ.get("SLURM_CONF", "")
    if settings and not Path(settings).exists():
        # The programs would look for it for a minute each.
        return SlurmFacts(programs, settings, cron=cron)
    version = ask(slurm.version)
    srun_help = run_program(["srun", "--help"], environ).value or ""
    progress("the controller")
    if not slurm.ping():
        limits = ask(lambda: _limits(slurm, site, cache))
        return SlurmFacts(
            programs, "", version, False, Answer(trouble=NOT_ASKED), limits, srun_help=srun_help, cron=cron
        )
    config = ask(slurm.config)
    limits = ask(lambda: _limits(slurm, site, cache, anew=True))
    partitions = ask(slurm.partitions)
    progress("sbatch, about a job")
    accepted = ask(lambda: try_job(partitions.value or []))
    progress("the accounting")
    keeps_accounts = (config.value or {}).get("AccountingStorageType", "").endswith("slurmdbd")
    accounts: Answer[int] = _UNASKED
    associations: Answer[Table] = _UNASKED
    qos: Answer[Table] = _UNASKED
    if keeps_accounts:
        accounts = ask(lambda: len(slurm.accounting(None, time.time())))
        cluster = (config.value or {}).get("ClusterName", "")
        associations = ask(lambda: slurm.associations(getpass.getuser(), cluster))
        qos = ask(slurm.qos)
    return SlurmFacts(
        programs, "", version, True, config, limits, accounts, partitions, associations, qos, accepted, srun_help, cron
    )


def _limits(slurm: Slurm, site: Site, cache: Path, *, anew: bool = False) -> Limits:
    return read_limits(slurm, site.limits, cache, account=site.account or "", qos=site.qos or "", anew=anew)

"""SLURM's programs, controller, limits and accounting."""

from __future__ import annotations

from collections.abc import Iterator

from segbatch.cluster.doctor.finding import Finding, State
from segbatch.cluster.doctor.slurm_facts import NEEDED, USEFUL, SlurmFacts
from segbatch.cluster.slurm.limits import Limits
from segbatch.spec.site import Site

TESTED = (22, 5)
"""Oldest version of SLURM that segbatch is tested with."""
AREA = "SLURM"


def check_controller(facts: SlurmFacts, site: Site, backend: str) -> Iterator[Finding]:
    """Judge whether SLURM is here, answers, and what it allows; nothing more is said where it does not answer."""
    fault: State = "bad" if backend == "slurm" else "warn"
    if not facts.programs:
        yield _no_programs(site)
        return
    missing = [name for name in NEEDED if name not in facts.programs]
    if missing:
        words = f"not on PATH: {', '.join(missing)}"
        yield Finding(AREA, "programs", fault, words, "cannot run jobs on SLURM; perhaps after `module load slurm`")
    else:
        yield Finding(AREA, "programs", "ok", facts.programs["sbatch"], "can submit, watch and cancel jobs")
    for name, loss in USEFUL.items():
        if name not in facts.programs:
            yield Finding(AREA, name, "warn", "not on PATH", loss)
    if facts.lost_settings:
        words = f"SLURM_CONF names {facts.lost_settings}, which is not there"
        yield Finding(AREA, "settings", fault, words, "cannot reach any cluster: correct or unset SLURM_CONF")
        return
    yield _version(facts)
    yield _controller(facts, fault, backend)
    if facts.limits.value is not None:
        yield from _limits(facts.limits.value, facts, site)
    elif facts.up:
        yield Finding(AREA, "limits", "warn", facts.limits.trouble, "takes SLURM's usual ones: 1001 tasks in an array")
    if facts.up:
        yield _accounting(facts)


def _no_programs(site: Site) -> Finding:
    if site.backend == "slurm":
        consequence = "cannot run jobs: go to a login node, perhaps `module load slurm`, or say `backend: local`"
        return Finding(AREA, "programs", "bad", "none on PATH, and the site file says `backend: slurm`", consequence)
    return Finding(AREA, "programs", "ok", "none on PATH", "runs tasks on this machine")


def _version(facts: SlurmFacts) -> Finding:
    if facts.version.value is None:
        return Finding(AREA, "version", "warn", facts.version.trouble, "takes it for a current one")
    major, minor = facts.version.value
    words = f"{major}.{minor:02}"
    if facts.version.value < TESTED:
        words += f", older than {TESTED[0]}.{TESTED[1]:02}"
        return Finding(AREA, "version", "warn", words, "is not tested with it; the simple ways may work")
    return Finding(AREA, "version", "ok", words, "reads what this version prints")


def _controller(facts: SlurmFacts, fault: State, backend: str) -> Finding:
    if not facts.up:
        return Finding(
            AREA,
            "controller",
            fault,
            "does not answer (scontrol ping)",
            "cannot submit or cancel, and tells of runs from their folders alone"
            if backend == "slurm"
            else "runs tasks on this machine",
        )
    if facts.config.value is None:
        return Finding(AREA, "controller", "warn", facts.config.trouble, "assumes SLURM's usual settings")
    words = f"cluster {facts.setting('ClusterName') or 'without a name'} answers"
    if backend == "slurm":
        return Finding(AREA, "controller", "ok", words, "sends tasks there; --backend local keeps a run here")
    return Finding(AREA, "controller", "ok", words, "sends tasks there only with --backend slurm")


def _limits(limits: Limits, facts: SlurmFacts, site: Site) -> Iterator[Finding]:
    source = "" if facts.up else "; as it was when last asked"
    if limits.max_array_size < 2:
        words = f"switched off (MaxArraySize is {limits.max_array_size})"
        yield Finding(AREA, "job arrays", "bad", words, "cannot submit: every run is an array")
    else:
        words = f"up to {limits.max_array_size} tasks (MaxArraySize{_said(site.limits.max_array_size)}){source}"
        yield Finding(AREA, "job arrays", "ok", words, "cuts runs of more tasks into several arrays")
    most = min(limits.max_job_count, limits.max_submit or limits.max_job_count)
    parts = [f"{limits.max_job_count} of all users (MaxJobCount{_said(site.limits.max_jobs)})"]
    if limits.max_submit is not None:
        parts.insert(0, f"{limits.max_submit} of yours (MaxSubmitJobs{_said(site.limits.max_submit)})")
    consequence = f"refuses a run of more than {most - 1} tasks before anything is written"
    yield Finding(AREA, "jobs at most", "ok", ", ".join(parts) + source, consequence)
    yield _memory(limits, site, facts)


def _said(override: int | None) -> str:
    return "" if override is None else ", says the site file"


def _memory(limits: Limits, site: Site, facts: SlurmFacts) -> Finding:
    words = f"{limits.min_job_age_s} s (MinJobAge)"
    often = f"asks at most every {site.min_poll_seconds:g} s"
    if 0 < limits.min_job_age_s < site.min_poll_seconds:
        instead = "from the accounting or " if facts.keeps_accounts else "from "
        return Finding(AREA, "ended jobs kept", "warn", words, f"{often}, and tells many ends {instead}the run folder")
    return Finding(AREA, "ended jobs kept", "ok", words, f"{often} (`min_poll_seconds`), and sees how jobs ended")


def _accounting(facts: SlurmFacts) -> Finding:
    what = "accounting"
    if facts.config.value is None:
        return Finding(AREA, what, "warn", "unknown", "goes by the run folder and the queue")
    if not facts.keeps_accounts:
        consequence = "tells how tasks ended from the run folder and, while it remembers them, the queue"
        return Finding(AREA, what, "ok", "off", consequence)
    if facts.accounts.value is None:
        consequence = "tells how tasks ended from the run folder and the queue until it is back"
        return Finding(AREA, what, "warn", f"on, but out of reach: {facts.accounts.trouble}", consequence)
    return Finding(AREA, what, "ok", "on (sacct answers)", "asks it for tasks that have left the queue")

"""All findings about a place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from segbatch.cluster.doctor.containers import check_runtimes, look_for_runtimes
from segbatch.cluster.doctor.controller import check_controller
from segbatch.cluster.doctor.deep import probe_node, try_job
from segbatch.cluster.doctor.finding import Finding
from segbatch.cluster.doctor.interpreter import ask_python, check_python, tasks_python
from segbatch.cluster.doctor.interruptions import check_interruptions
from segbatch.cluster.doctor.machine import check_machine
from segbatch.cluster.doctor.partitions import check_partitions, check_site_keys
from segbatch.cluster.doctor.slurm_facts import SlurmFacts, gather_slurm
from segbatch.cluster.slurm.client import Slurm
from segbatch.spec.site import Site


def survey(
    slurm: Slurm,
    site: Site,
    site_file: Path | None,
    backend: str,
    runs: Path,
    cache: Path,
    *,
    deep_s: float | None,
    progress: Callable[[str], object],
) -> Iterator[Finding]:
    """Yield all findings, in the order in which they are shown.

    Args:
        slurm: its programs, found or not.
        site: the site.
        site_file: where it was read from.
        backend: where jobs would run: "local" or "slurm".
        runs: folder of runs.
        cache: folder of what commands know of limits.
        deep_s: seconds to wait for a job that looks at a node; None sends none.
        progress: told what is being asked.
    """
    progress("Python")
    python = tasks_python(site, backend)
    yield check_python(ask_python(python, slurm.environ), python, site, backend)
    yield from check_machine(slurm.environ, runs, site_file)
    facts = gather_slurm(slurm, site, cache, lambda partitions: try_job(slurm, site), progress)
    yield from check_controller(facts, site, backend)
    if facts.up:
        yield from check_interruptions(facts, site)
        yield from check_partitions(facts, site)
        yield from check_site_keys(facts, site)
    yield from check_runtimes(look_for_runtimes(slurm.environ, facts.srun_help, _settings(facts)), site, backend)
    if deep_s is not None:
        yield from _deep(slurm, site, runs, facts, deep_s, progress)


def _settings(facts: SlurmFacts) -> str:
    return (facts.config.value or {}).get("SLURM_CONF", "")


def _deep(
    slurm: Slurm, site: Site, runs: Path, facts: SlurmFacts, deep_s: float, progress: Callable[[str], object]
) -> Iterator[Finding]:
    if facts.up:
        progress("a compute node")
        yield from probe_node(slurm, site, runs, deep_s, progress)
    else:
        yield Finding("node", "job", "warn", "not sent: no controller answers", "knows nothing of nodes")

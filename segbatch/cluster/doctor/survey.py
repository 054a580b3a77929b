"""All questions to a place, and the findings that follow from the answers."""

from __future__ import annotations

import platform
import socket
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import segbatch
from segbatch.cluster.backend import cache_folder, choose_backend
from segbatch.cluster.doctor.containers import check_runtimes, look_for_runtimes
from segbatch.cluster.doctor.controller import check_controller
from segbatch.cluster.doctor.finding import Finding
from segbatch.cluster.doctor.interpreter import ask_python, check_python, tasks_python
from segbatch.cluster.doctor.interruptions import check_interruptions
from segbatch.cluster.doctor.machine import GUESS, check_machine, gather_machine
from segbatch.cluster.doctor.node import SHARED, check_node
from segbatch.cluster.doctor.partitions import check_partitions, check_site_keys
from segbatch.cluster.doctor.probe import new_probe, send_probe
from segbatch.cluster.doctor.probe_script import SCRIPT, default_gpus, write_probe
from segbatch.cluster.doctor.slurm_facts import SlurmFacts, gather_slurm
from segbatch.cluster.slurm.client import Slurm
from segbatch.cluster.slurm.queue import QueueView
from segbatch.cluster.slurm.rows import Partition
from segbatch.errors import InputError
from segbatch.spec.site import Site

Progress = Callable[[str], object]
QUESTION_S = 20.0
"""Seconds that one question to SLURM may take."""


@dataclass(frozen=True)
class Place:
    """What is to be examined."""

    site: Site
    site_file: str
    """Words on where the site's settings come from."""
    site_trouble: str
    """Why the site file cannot be used; the site is then one of defaults."""
    runs: Path
    environ: Mapping[str, str]


@dataclass(frozen=True)
class Examined:
    """What was found, and what a closer look needs."""

    findings: list[Finding]
    slurm: Slurm
    backend: str
    facts: SlurmFacts


def examine(place: Place, progress: Progress) -> Examined:
    """Ask a place about itself; nothing is left there but what is known of SLURM's limits.

    Args:
        place: what to examine.
        progress: told what is being asked.
    """
    slurm = Slurm(place.environ, timeout_s=QUESTION_S)
    findings, backend = _segbatch(place, progress)
    facts = gather_slurm(slurm, place.site, cache_folder(place.environ), _trial(slurm, place), progress)
    progress("this machine")
    asked = [
        *check_controller(facts, place.site, backend),
        *check_interruptions(facts, place.site),
        *check_partitions(facts, place.site),
        *check_site_keys(facts, place.site),
    ]
    findings += asked if backend == "slurm" else [_milder(finding) for finding in asked]
    runtimes = look_for_runtimes(place.environ, facts.srun_help, facts.setting("SLURM_CONF"))
    findings += check_runtimes(runtimes, place.site, backend)
    findings += check_machine(gather_machine(place.runs, place.environ), place.site, backend)
    return Examined(findings, slurm, backend, facts)


def examine_node(
    place: Place, examined: Examined, gpus: int | None, timeout_s: float, progress: Progress
) -> list[Finding]:
    """Send a tiny job and judge what it brings back; returns all findings, old and new.

    Args:
        place: what is examined.
        examined: what was found so far.
        gpus: GPUs that the job asks for; None for one where the site's partitions have any.
        timeout_s: seconds to wait for it.
        progress: told how far it is.
    """
    if "sbatch" not in examined.facts.programs or examined.facts.lost_settings or not examined.facts.up:
        words = "not sent: there is no SLURM here that answers"
        return [*examined.findings, Finding("node", "tiny job", "bad", words, "cannot look at a node (--deep)")]
    chosen = default_gpus(examined.facts.partitions.value or [], place.site) if gpus is None else gpus
    view = QueueView(examined.slurm, place.site.min_poll_seconds, cache_folder(place.environ))
    probe = new_probe(place.runs, chosen, timeout_s)
    found = list(check_node(send_probe(examined.slurm, view, place.site, probe, progress), place.site))
    answered = any(finding.what == SHARED for finding in found)
    # What was seen needs no guess any more.
    return [*(finding for finding in examined.findings if not (answered and finding.what == GUESS)), *found]


def _milder(finding: Finding) -> Finding:
    """What is wrong with a SLURM that no task goes to is no fault."""
    return replace(finding, state="warn") if finding.state == "bad" else finding


def _segbatch(place: Place, progress: Progress) -> tuple[list[Finding], str]:
    words = f"{segbatch.__version__}, Python {platform.python_version()}, on {socket.gethostname()}"
    findings = [Finding("segbatch", "version", "ok", words, "answers commands with this Python")]
    findings.append(_site_file(place))
    try:
        backend = str(choose_backend(None, place.site, place.environ))
        where = "SLURM" if backend == "slurm" else "this machine"
        words = f"{where} (`backend: {place.site.backend}`)"
        findings.append(Finding("segbatch", "backend", "ok", words, f"runs tasks on {where} unless told otherwise"))
    except InputError as error:
        backend = "slurm"
        findings.append(Finding("segbatch", "backend", "bad", str(error), "cannot run jobs"))
    progress("the tasks' Python")
    python = tasks_python(place.site, backend)
    findings.append(check_python(ask_python(python, place.environ), python, place.site, backend))
    return findings, backend


def _site_file(place: Place) -> Finding:
    if place.site_trouble:
        consequence = "refuses every job until it is correct; what follows is about a site of defaults"
        return Finding("segbatch", "site file", "bad", place.site_trouble, consequence)
    keys = ", ".join(sorted(place.site.model_fields_set - {"profiles"}))
    if not place.site_file:
        return Finding("segbatch", "site file", "ok", "none found", "goes by defaults")
    return Finding(
        "segbatch", "site file", "ok", place.site_file, f"goes by its {keys}" if keys else "goes by defaults"
    )


def _trial(slurm: Slurm, place: Place) -> Callable[[Sequence[Partition]], str]:
    """Let sbatch judge a job of the site, from a folder of its own."""

    def judged(partitions: Sequence[Partition]) -> str:
        with tempfile.TemporaryDirectory(prefix="segbatch-doctor-") as folder:
            probe = new_probe(Path(folder), default_gpus(partitions, place.site), 0)
            probe.folder.mkdir()
            write_probe(probe, place.site)
            return slurm.test_only(SCRIPT, probe.folder)

    return judged

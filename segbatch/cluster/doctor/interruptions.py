"""How SLURM interrupts jobs and starts them again, and who starts jobs at set times."""

from __future__ import annotations

import re
from collections.abc import Iterator

from segbatch.cluster.doctor.finding import Finding
from segbatch.cluster.doctor.slurm_facts import SlurmFacts
from segbatch.spec.site import Site

AREA = "SLURM"
SHORT_KILL_WAIT_S = 10
"""Seconds in which a batch may not be finished."""
SHORT_WARNING_S = 60
"""SLURM looks at time limits only every half minute."""


def check_interruptions(facts: SlurmFacts, site: Site) -> Iterator[Finding]:
    """Judge what SLURM does to running jobs; nothing is said where its settings are unknown."""
    if facts.config.value is None:
        return
    yield _requeue(facts)
    yield _preemption(facts)
    yield _warning(facts, site)
    yield _schedules(facts)


def _requeue(facts: SlurmFacts) -> Finding:
    words = "on" if facts.setting("JobRequeue") == "1" else "off unless a job asks for it"
    consequence = "asks for it in every job: tasks go on after a lost node, a preemption or their time limit"
    return Finding(AREA, "requeue", "ok", f"{words} (JobRequeue)", consequence)


def _preemption(facts: SlurmFacts) -> Finding:
    kind = facts.setting("PreemptType").rpartition("/")[2]
    modes = {mode.strip().upper() for mode in facts.setting("PreemptMode").split(",")} - {""}
    if kind in ("", "none") or modes <= {"OFF"}:
        return Finding(AREA, "preemption", "ok", "none", "needs no care for it")
    words = f"{', '.join(sorted(modes)).lower()} ({kind})"
    if modes <= {"SUSPEND", "GANG", "OFF"}:
        return Finding(AREA, "preemption", "ok", words, "lets tasks stand still, and counts on no speed")
    if "preempt_send_user_signal" in facts.setting("SlurmctldParameters"):
        consequence = "warns a preempted task where the partition has a GraceTime, and puts it back into the queue"
        return Finding(AREA, "preemption", "ok", words, consequence)
    consequence = "stops a preempted task by SIGTERM, without warning, and puts it back into the queue"
    return Finding(AREA, "preemption", "ok", f"{words}, without a signal beforehand", consequence)


def _warning(facts: SlurmFacts, site: Site) -> Finding:
    wait = _seconds(facts.setting("KillWait"))
    warning = site.warning
    words = f"SIGKILL {wait} s after SIGTERM (KillWait)" if wait is not None else "KillWait is unknown"
    consequence = f"has {warning.signal} sent {warning.seconds} s before the time limit (`warning`)"
    if warning.seconds < SHORT_WARNING_S:
        consequence += ": too late for a sure checkpoint, set `warning.seconds` to 60 or more"
        return Finding(AREA, "end of a job", "warn", words, consequence)
    if wait is not None and wait < SHORT_KILL_WAIT_S:
        consequence += f"; preempted or cancelled tasks have {wait} s and may lose the batch in hand"
    return Finding(AREA, "end of a job", "ok", words, consequence)


def _seconds(text: str) -> int | None:
    match = re.match(r"\d+", text)
    return int(match[0]) if match else None


def _schedules(facts: SlurmFacts) -> Finding:
    enabled = "enable" in facts.setting("ScronParameters")
    there = "scrontab" in facts.cron
    words = "scrontab is on" if enabled else "scrontab is switched off"
    words += "" if there else ", but its program is not here" if enabled else ", and its program is not here"
    words += "; crontab is here" if "crontab" in facts.cron else "; no crontab"
    if enabled and there:
        return Finding(AREA, "schedules", "ok", words, "can be started at set times by SLURM: scrontab")
    if "crontab" in facts.cron:
        return Finding(AREA, "schedules", "ok", words, "can be started at set times on this machine: crontab")
    return Finding(AREA, "schedules", "ok", words, "cannot be started at set times by this machine")

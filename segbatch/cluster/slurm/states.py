"""The one table of SLURM's job states."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

Phase = Literal["waiting", "running", "over", "unknown"]


@dataclass(frozen=True)
class JobState:
    """What a state of SLURM means for a task."""

    name: str
    """SLURM's name, such as CANCELLED."""
    phase: Phase
    """`unknown` asks for patience: the state is new to us, and the job may be well."""
    good: bool = False
    """It ended with exit code 0."""
    cause: str = ""
    """Why it ended or is to start again, in words; empty where nothing went wrong."""
    returns: bool = False
    """SLURM itself may start the job again, or is about to."""
    by: str = ""
    """Who cancelled it: a user id, or empty where SLURM does not say."""


def _states(*states: JobState) -> dict[str, JobState]:
    return {state.name: state for state in states}


# Base states: a job has exactly one of them.
_BASE = _states(
    JobState("PENDING", "waiting"),
    JobState("RUNNING", "running"),
    JobState("SUSPENDED", "running"),
    JobState("COMPLETED", "over", good=True),
    JobState("CANCELLED", "over", cause="cancelled"),
    JobState("FAILED", "over", cause="failed"),
    JobState("TIMEOUT", "over", cause="time limit"),
    JobState("NODE_FAIL", "over", cause="node failed", returns=True),
    JobState("PREEMPTED", "over", cause="preempted", returns=True),
    JobState("BOOT_FAIL", "over", cause="boot failed", returns=True),
    JobState("DEADLINE", "over", cause="deadline"),
    JobState("OUT_OF_MEMORY", "over", cause="out of memory"),
)
# Flags that take the place of the base state in text; JSON of newer versions lists them beside it.
# Those further up win. COMPLETING, STAGE_OUT: the end is near but the exit code is not final.
_FLAGS = _states(
    JobState("REQUEUED", "waiting", cause="requeued", returns=True),
    JobState("REQUEUE_FED", "waiting", cause="requeued", returns=True),
    JobState("REQUEUE_HOLD", "waiting", cause="requeued and held", returns=True),
    JobState("SPECIAL_EXIT", "waiting", cause="requeued and held", returns=True),
    JobState("RESV_DEL_HOLD", "waiting", cause="reservation deleted"),
    JobState("LAUNCH_FAILED", "waiting", cause="launch failed", returns=True),
    JobState("RECONFIG_FAIL", "waiting", cause="node failed", returns=True),
    JobState("REVOKED", "unknown", cause="started on another cluster of the federation"),
    JobState("COMPLETING", "running"),
    JobState("STAGE_OUT", "running"),
    JobState("CONFIGURING", "running"),
    JobState("POWER_UP_NODE", "running"),
    JobState("RESIZING", "running"),
    JobState("SIGNALING", "running"),
    JobState("STOPPED", "running"),
)
# Flags that say nothing about where a job stands.
_SILENT = {"UPDATE_DB", "EXPEDITING"}


def read_state(text: str) -> JobState:
    """Read a state as squeue, sacct or scontrol print it.

    Args:
        text: one state (`RUNNING`, `CANCELLED by 1000`), or several joined by commas as in newer JSON.

    Returns:
        The state. One that this table does not know has the phase `unknown`, which means: ask again later.
    """
    by = re.search(r"\bby\s+(\S+)", text)
    names = [name.upper().rstrip("+") for name in re.findall(r"[A-Za-z_]+\+?", re.sub(r"\bby\s+\S+", "", text))]
    names = [name for name in names if name not in _SILENT]
    state = _combined(names) or JobState(text.strip().upper(), "unknown")
    return replace(state, by=by[1]) if by and state.cause == "cancelled" else state


def _combined(names: list[str]) -> JobState | None:
    """Pick the state that counts among a base state and flags; None for words of which none is known."""
    flags = [state for name, state in _FLAGS.items() if name in names]
    base = next((_BASE[name] for name in names if name in _BASE), None)
    strange = [name for name in names if name not in _FLAGS and name not in _BASE]
    if flags:
        return replace(flags[0], cause=flags[0].cause or (base.cause if base else ""))
    if base and base.phase == "over" and strange:
        # An end that is qualified by a word we do not know may be none.
        return JobState(strange[0], "unknown", cause=base.cause)
    return base

"""What became of a pipeline, told from what became of its stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from segbatch.errors import Exit
from segbatch.runs.ledger import submissions
from segbatch.runs.pipelines import Event, Pipeline, StageRecord
from segbatch.runs.status import RunState, RunStatus

StageState = Literal["waiting", "skipped", "unneeded", "refused", RunState]
BAD = ("refused", "failed", "killed", "interrupted", "cancelled", "unknown")
"""States in which a stage holds up those that need it."""
SATISFIED = ("done", "unneeded")
MOVING = ("queued", "running")


@dataclass(frozen=True)
class StageStatus:
    """One stage."""

    name: str
    kind: str
    needs: tuple[str, ...]
    state: StageState
    why: str = ""
    """Why it does not run, or was refused."""
    run: RunStatus | None = None
    """Its own run, once there is one."""
    blame: str = ""
    """The stage because of which it will not run."""

    @property
    def code(self) -> int | None:
        """Its exit code, once it is over."""
        if self.run is not None:
            return self.run.code
        return int(Exit.BAD_INPUT) if self.state == "refused" else None


@dataclass(frozen=True)
class PipelineStatus:
    """A pipeline's run."""

    pipeline: Pipeline
    state: RunState
    stages: tuple[StageStatus, ...]
    code: int | None
    """Exit code, once it is over."""
    hint: str
    """What to do next; may be empty."""

    @property
    def label(self) -> str:
        """How commands name it."""
        return self.pipeline.label

    @property
    def folder(self) -> Path:
        """Folder of the run."""
        return self.pipeline.paths.folder

    @property
    def backend(self) -> Literal["", "local", "slurm"]:
        """Where its newest start went; empty if there was none."""
        made = submissions(self.pipeline.paths)
        if made:
            return "slurm" if made[-1].facts.get("backend") == "slurm" else "local"
        # On SLURM a first stage that has nothing to do leaves no job.
        return next((stage.run.backend for stage in self.stages if stage.run is not None), "")

    @property
    def over(self) -> bool:
        """Whether nothing more will come of it by itself."""
        return self.state not in MOVING

    @property
    def idle(self) -> bool:
        """Whether it came to its end and there was nothing to do."""
        states = {stage.state for stage in self.stages}
        return self.state == "done" and "skipped" in states and "done" not in states

    @property
    def words(self) -> str:
        """Its state in words."""
        return "nothing to do" if self.idle else self.state

    @property
    def done(self) -> int:
        """Stages that need nothing more."""
        return sum(stage.state in ("skipped", *SATISFIED) for stage in self.stages)

    @property
    def total(self) -> int:
        """Stages."""
        return len(self.stages)

    @property
    def exit_code(self) -> int:
        """What a command that waited for it ends with."""
        return int(Exit.FAILED) if self.code is None else self.code

    def ready(self) -> list[StageStatus]:
        """Stages whose turn it is: all that they need has ended well."""
        states = {stage.name: stage.state for stage in self.stages}
        return [
            stage
            for stage in self.stages
            if stage.state in ("waiting", "pending") and all(states[need] in SATISFIED for need in stage.needs)
        ]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for `status --json`."""
        return {
            "run": self.pipeline.label,
            "folder": str(self.pipeline.paths.folder),
            "kind": "pipeline",
            "backend": self.backend,
            "state": self.state,
            "code": self.code,
            "nothing_to_do": self.idle,
            "stages": [
                {
                    "name": stage.name,
                    "kind": stage.kind,
                    "needs": list(stage.needs),
                    "state": stage.state,
                    "code": stage.code,
                    "why": stage.why,
                    "run": stage.run.as_dict() if stage.run else None,
                }
                for stage in self.stages
            ],
            "hint": self.hint,
        }


def judge(pipeline: Pipeline, runs: Mapping[str, RunStatus], driven: bool) -> PipelineStatus:
    """Tell what became of a pipeline.

    Args:
        pipeline: the pipeline's run.
        runs: what became of the stages that have runs.
        driven: whether somebody will start what comes next: a process here, or a job in the queue.
    """
    events = pipeline.events()
    stages: dict[str, StageStatus] = {}
    for record in pipeline.record.stages:
        stages[record.name] = _stage(record, runs.get(record.name), events, stages)
    found = tuple(stages.values())
    cancelled = any(event.kind == "cancelled" for event in events)
    status = PipelineStatus(pipeline, "pending", found, None, "")
    state, code = _state(status, cancelled, driven)
    return replace(status, state=state, code=code, hint=_hint(pipeline, state, found))


def _stage(
    record: StageRecord, run: RunStatus | None, events: Sequence[Event], before: Mapping[str, StageStatus]
) -> StageStatus:
    stage = StageStatus(record.name, record.kind, record.needs, "waiting", run=run)
    if run is not None:
        return replace(stage, state=run.state)
    own = next((event for event in reversed(events) if event.stage == record.name), None)
    if own is not None and own.kind == "refused":
        return replace(stage, state="refused", why=own.why)
    if own is not None and own.kind in ("nothing", "unneeded"):
        return replace(stage, state="skipped" if own.kind == "nothing" else "unneeded", why=own.why)
    needs = [before[need] for need in record.needs]
    stuck = next((need for need in needs if need.state in ("skipped", *BAD)), None)
    if stuck is not None:
        cause = before[stuck.blame or stuck.name]
        state: StageState = "skipped" if cause.state == "skipped" else "cancelled"
        return replace(stage, state=state, why=f"needs {cause.name}, which {_told(cause.state)}", blame=cause.name)
    waits = [need.name for need in needs if need.state not in SATISFIED]
    return replace(stage, why=f"waits for {', '.join(waits)}" if waits else "")


def _told(state: StageState) -> str:
    """Say how a stage ended that holds up others."""
    words: dict[str, str] = {"skipped": "had nothing to do", "failed": "failed", "refused": "was refused"}
    return words.get(state, f"was {state}")


def _state(status: PipelineStatus, cancelled: bool, driven: bool) -> tuple[RunState, int | None]:
    states = [stage.state for stage in status.stages]
    if any(state in MOVING for state in states):
        return ("running" if "running" in states else "queued"), None
    if status.ready() and driven and not cancelled:
        return "queued", None
    if all(state in ("skipped", *SATISFIED) for state in states):
        codes = [stage.code or 0 for stage in status.stages]
        return "done", max(codes, default=0)
    if cancelled:
        return "cancelled", int(Exit.INTERRUPTED)
    bad: dict[str, RunState] = {
        "failed": "failed",
        "refused": "failed",
        "killed": "killed",
        "unknown": "unknown",
        "interrupted": "interrupted",
    }
    for state, verdict in bad.items():
        if state in states:
            codes = [stage.code for stage in status.stages if stage.state == state and stage.code]
            return verdict, codes[0] if codes else int(Exit.FAILED)
    if set(states) <= {"waiting", "pending"}:
        return ("pending", None)
    return "interrupted", int(Exit.INTERRUPTED)


def _hint(pipeline: Pipeline, state: RunState, stages: Sequence[StageStatus]) -> str:
    folder = pipeline.paths.folder
    failed = next((stage for stage in stages if stage.state == "failed"), None)
    if failed is not None and failed.run is not None:
        logs = f"segbatch logs {failed.run.run.paths.folder} --failed"
        return f"see why {failed.name} failed with: {logs}   then go on with it: segbatch resume {folder}"
    if state in ("failed", "interrupted", "killed", "cancelled", "unknown", "pending"):
        return f"go on with what is missing: segbatch resume {folder}"
    return ""

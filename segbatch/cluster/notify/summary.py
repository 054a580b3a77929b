"""A run's end in ten lines."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from segbatch.runs.ledger import submissions
from segbatch.runs.pipeline_status import PipelineStatus
from segbatch.runs.run import Run
from segbatch.runs.status import RunStatus
from segbatch.runs.words import duration

Outcome = Literal["success", "failure", "cancelled"]
MOST_LINES = 10
_WIDEST = 200


@dataclass(frozen=True)
class Summary:
    """What everybody is told, in words and as values."""

    title: str
    """One line."""
    outcome: Outcome
    lines: tuple[str, ...]
    """Ten at most."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Plain values, for programs."""

    @property
    def text(self) -> str:
        """The lines, each with its end."""
        return "".join(f"{line}\n" for line in self.lines)


def outcome_of(status: RunStatus | PipelineStatus) -> Outcome | None:
    """Whether a run has come to a good end, a bad one or a wanted one; None while it has not."""
    if not status.over or status.state in ("pending", "unknown"):
        return None
    if status.state == "done":
        return "success"
    return "cancelled" if status.state == "cancelled" else "failure"


def summarize(status: RunStatus, now: float | None = None) -> Summary:
    """Sum up a run that is over.

    Args:
        status: what became of it.
        now: seconds since the epoch.
    """
    run, record = status.run, status.run.record
    outcome = outcome_of(status) or "failure"
    figures = _figures(run)
    began = min((float(item.facts.get("opened", 0.0)) for item in submissions(run.paths)), default=0.0)
    spent = (time.time() if now is None else now) - began if began else None
    code = "" if status.code is None else f", exit code {status.code}"
    rows = {
        "run": run.label,
        "job": f"{record.name} ({record.kind}), {record.job_file}",
        "outcome": f"{status.state}{code}",
        "tasks": _tasks(status),
        **figures.rows,
        "time": f"begun {moment(began)}, took {duration(spent)}" if began else "",
        "cause": _cause(status),
        "report": str(figures.report) if figures.report is not None else "",
        "next": status.hint or f"segbatch report {run.paths.folder}",
    }
    facts = {
        "run": run.label,
        "job": record.name,
        "kind": record.kind,
        "folder": str(run.paths.folder),
        "outcome": outcome,
        "state": status.state,
        "code": status.code,
        "seconds": None if spent is None else round(spent, 1),
        "tiles": figures.tiles,
        "scores": figures.scores,
        "report": str(figures.report) if figures.report is not None else None,
    }
    return Summary(f"segbatch: {run.label} {status.state}", outcome, text_lines(rows), facts)


def not_started(name: str, job: str, words: str, log: Path) -> Summary:
    """Sum up a start that failed, so that there is no run.

    Args:
        name: of the schedule.
        job: the job file.
        words: why it failed.
        log: where more of it may stand.
    """
    rows = {
        "schedule": name,
        "job": job,
        "outcome": "its start failed; there is no run",
        "cause": " ".join(words.split()),
        "log": str(log),
        "next": f"put it right, then: segbatch schedule run-now {name}",
    }
    facts = {"schedule": name, "job": Path(job).name, "outcome": "failure", "state": "not started", "cause": words}
    return Summary(f"segbatch: {name} could not be started", "failure", text_lines(rows), facts)


@dataclass(frozen=True)
class _Figures:
    rows: Mapping[str, str]
    tiles: Mapping[str, Any] | None
    scores: Mapping[str, Any] | None
    report: Path | None


def _figures(run: Run) -> _Figures:
    """What the report of a run says; nothing where there is none."""
    train = run.record.kind == "train"
    path = (run.paths.training if train else run.paths.report) / "summary.json"
    try:
        found = json.loads(path.read_bytes())
        return _trained(run, found) if train else _predicted(run, found)
    except (OSError, ValueError, KeyError, TypeError):
        return _Figures({}, None, None, None)


def _trained(run: Run, found: Mapping[str, Any]) -> _Figures:
    scores = {"mean_iou": found["scores"]["iou"], "mean_dice": found["scores"]["dice"]}
    rows = {
        "epochs": f"best {found['best_epoch']} of {found['epochs']} by {found['best_by']}",
        "scores": f"mean IoU {_score(scores['mean_iou'])}, mean Dice {_score(scores['mean_dice'])}",
    }
    return _Figures(rows, None, scores, run.paths.model)


def _predicted(run: Run, found: Mapping[str, Any]) -> _Figures:
    tiles = {name: int(found["tiles"][name]) for name in ("done", "rejected", "missing")}
    rows = {"tiles": ", ".join(f"{count} {what}" for what, count in tiles.items())}
    scores = None
    if found["scores"]:
        scores = {name: found["scores"][name] for name in ("mean_iou", "mean_dice", "accuracy")}
        words = {"mean_iou": "mean IoU", "mean_dice": "mean Dice", "accuracy": "accuracy"}
        rows["scores"] = ", ".join(f"{words[name]} {_score(value)}" for name, value in scores.items())
    return _Figures(rows, tiles, scores, run.paths.report / "index.html")


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _tasks(status: RunStatus) -> str:
    counts = status.counts()
    where = {"slurm": "on SLURM", "local": "on this machine", "": ""}[status.backend]
    return f"{', '.join(f'{counts[state]} {state}' for state in sorted(counts))} {where}".strip()


def _cause(status: RunStatus) -> str:
    """Why it failed, in the words of the first task that says so."""
    if status.state == "done":
        return ""
    for task in (*status.tasks, status.finish):
        words = task.message or task.why
        if task.state in ("failed", "killed", "interrupted") and words:
            return f"task {task.name}{f' on {task.host}' if task.host else ''}: {' '.join(words.split())}"
    return ""


def moment(seconds: float) -> str:
    """Write a moment, given in seconds since the epoch, to the minute in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(sep=" ", timespec="minutes").replace("+00:00", " UTC")


def text_lines(rows: Mapping[str, str]) -> tuple[str, ...]:
    """Write what is said by key as lines, ten at most, cut where they are too long; keys without text are left out."""
    width = max(map(len, rows))
    said = [f"{key:<{width}}  {text}" for key, text in rows.items() if text]
    return tuple(line if len(line) <= _WIDEST else f"{line[: _WIDEST - 3]}..." for line in said[:MOST_LINES])

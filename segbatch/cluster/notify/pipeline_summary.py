"""The end of a pipeline's run in ten lines."""

from __future__ import annotations

import time
from typing import Any

from segbatch.cluster.notify.summary import Outcome, Summary, moment, text_lines
from segbatch.runs.gate_words import decisions
from segbatch.runs.ledger import submissions
from segbatch.runs.pipeline_status import BAD, PipelineStatus
from segbatch.runs.words import duration


def summarize_pipeline(status: PipelineStatus, outcome: Outcome, now: float | None = None) -> Summary:
    """Sum up a pipeline that is over.

    Args:
        status: what became of it.
        outcome: how that is to be taken.
        now: seconds since the epoch.
    """
    pipeline, record = status.pipeline, status.pipeline.record
    gates = list(decisions(status))
    began = min((float(item.facts.get("opened", 0.0)) for item in submissions(pipeline.paths)), default=0.0)
    spent = (time.time() if now is None else now) - began if began else None
    code = "" if status.code is None else f", exit code {status.code}"
    pages = [str(page) for _, _, page in gates]
    rows = {
        "run": status.label,
        "job": f"{record.name} (pipeline), {record.job_file}",
        "outcome": f"{status.words}{code}",
        "stages": ", ".join(f"{stage.name} {stage.state}" for stage in status.stages),
        "cause": _cause(status),
        "gate": "; ".join(words for _, words, _ in gates),
        "page": ", ".join(pages),
        "time": f"begun {moment(began)}, took {duration(spent)}" if began else "",
        "next": status.hint or ("" if status.idle else f"segbatch report {status.folder}"),
    }
    facts: dict[str, Any] = {
        "run": status.label,
        "job": record.name,
        "kind": "pipeline",
        "folder": str(status.folder),
        "outcome": outcome,
        "state": status.state,
        "nothing_to_do": status.idle,
        "code": status.code,
        "seconds": None if spent is None else round(spent, 1),
        "stages": {stage.name: stage.state for stage in status.stages},
        "gates": {stage.name: words for stage, words, _ in gates},
        "report": pages[0] if pages else None,
    }
    return Summary(f"segbatch: {status.label} {status.words}", outcome, text_lines(rows), facts)


def _cause(status: PipelineStatus) -> str:
    """Why it failed or did nothing: the words of the first stage that says so."""
    for stage in status.stages:
        if stage.state in (*BAD, "skipped") and not stage.blame:
            tasks = (*stage.run.tasks, stage.run.finish) if stage.run is not None else ()
            said = [task.message or task.why for task in tasks if task.state in ("failed", "killed", "interrupted")]
            words = " ".join((stage.why or next(filter(None, said), "")).split())
            return f"{stage.name}: {words}" if words else ""
    return ""

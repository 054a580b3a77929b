"""What a gate decided, in words, from the file that it leaves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from segbatch.runs.pipeline_status import PipelineStatus, StageStatus
from segbatch.runs.run import Run


def decision(run: Run) -> str:
    """Say in a line what a gate run decided; empty before it has."""
    try:
        result = json.loads((run.paths.report / "gate.json").read_bytes())
        broken = [rule["words"] for rule in result["decision"]["rules"] if not rule["kept"]]
        if result["decision"]["promote"]:
            return f"{result['challenger']} is the champion"
        return f"{result['champion']} stays the champion: {'; '.join(broken)}"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def decisions(status: PipelineStatus) -> Iterator[tuple[StageStatus, str, Path]]:
    """Yield the gates of a pipeline that have decided: each with what, and the page that tells why."""
    for stage in status.stages:
        if stage.kind == "gate" and stage.run is not None and stage.state == "done":
            words = decision(stage.run.run)
            if words:
                yield stage, words, stage.run.run.paths.report / "index.html"

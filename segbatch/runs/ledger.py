"""What was asked of a scheduler and what came of it: one line before the call, one after."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from segbatch.runs.files import append_line, read_lines
from segbatch.runs.layout import RunPaths

State = Literal["submitting", "submitted", "refused", "uncertain", "cancelled", "ended"]


@dataclass(frozen=True)
class Submission:
    """The last known state of one submission, with all that its lines said."""

    token: str
    state: State
    facts: Mapping[str, Any]


def record(paths: RunPaths, token: str, state: State, **facts: Any) -> None:
    """Append one line: the submission `token` has come to `state`."""
    append_line(paths.ledger, {"time": time.time(), "token": token, "state": state, **facts})


def submissions(paths: RunPaths) -> list[Submission]:
    """Return all submissions of a run, oldest first; the fact `opened` is the time of the first line of each."""
    facts: dict[str, dict[str, Any]] = {}
    for line in read_lines(paths.ledger):
        if "token" in line and "state" in line:
            facts.setdefault(str(line["token"]), {"opened": line.get("time", 0.0)}).update(line)
    return [Submission(token, merged["state"], merged) for token, merged in facts.items()]

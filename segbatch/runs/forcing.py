"""Word of a user that a training goes on although its job or data were changed."""

from __future__ import annotations

import json
import time

from segbatch.runs.files import file_digest, write_json
from segbatch.runs.run import Run


def force(run: Run) -> None:
    """Allow the run's training to go on with its job and data as they are now; no later change is meant."""
    write_json(run.paths.forced, {"job": file_digest(run.paths.job), "time": round(time.time(), 3)})


def forced(run: Run) -> bool:
    """Tell whether the training may go on with the job as it is."""
    try:
        return bool(json.loads(run.paths.forced.read_bytes())["job"] == file_digest(run.paths.job))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def settle(run: Run) -> None:
    """Forget the word, once the training it was given for is finished."""
    run.paths.forced.unlink(missing_ok=True)

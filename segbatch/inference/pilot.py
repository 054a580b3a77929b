"""The task of a pilot: its tiles as any task does them, and then the measurements of `segbatch bench`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from segbatch.inference.bench import timed
from segbatch.inference.benching import measure
from segbatch.inference.task import predict_task
from segbatch.runs.pilot_run import plan_of_pilot, write_pilot
from segbatch.runs.run import Run

Log = Callable[[str], None]


def pilot_task(run: Run, task: int, attempt: int, stop: Callable[[], bool], log: Log) -> int:
    """Predict the tiles of a pilot, and measure how fast its model is on this node.

    Raises:
        InputError: none of its tiles can be read.
        SegbatchError: as `predict_task`.
    """
    code = predict_task(run, task, attempt, stop, log)
    plan = plan_of_pilot(run)
    listing = timed(len(plan.tiles), lambda: None)
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=run.paths.folder) as folder:
        found = measure(plan, listing, len(plan.tiles), Path(folder), lambda line: log(f"measuring: {line}"))
    write_pilot(run, found.measured)
    log(f"{found.measured.rate:.1f} tiles/s with {found.measured.fastest.engine} on {found.measured.node}")
    return code

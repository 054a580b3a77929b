"""How far a task is: one small file, replaced whole, read by `segbatch status` from anywhere."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from segbatch.runs.files import write_json

INTERVAL_S = 1.0


class TaskProgress:
    """Writes `progress.json` of one task, at most once a second.

    Args:
        path: the file; its folder must exist.
        total: units of work of the task, those of earlier attempts included.
        unit: what is counted, such as "tiles" or "steps".
    """

    def __init__(self, path: Path, total: int, unit: str = "tiles") -> None:
        self._path = path
        self._values: dict[str, Any] = {"total": total, "unit": unit, "done": 0, "rate": None, "note": ""}
        self._started = time.monotonic()
        self._first_done: int | None = None
        self._written = 0.0

    def update(self, done: int, *, note: str | None = None, force: bool = False, **figures: Any) -> None:
        """Say that `done` units are finished in all; `figures` are kept and shown beside.

        The rate (units a second) is over this attempt alone, from its first update on.
        """
        now = time.monotonic()
        if self._first_done is None:
            self._first_done, self._started = done, now
        elapsed = now - self._started
        self._values["done"] = done
        if elapsed > 0 and done > self._first_done:
            self._values["rate"] = round((done - self._first_done) / elapsed, 3)
        if note is not None:
            self._values["note"] = note
        self._values.update(figures)
        if force or now - self._written >= INTERVAL_S:
            self._written = now
            self._values["updated"] = round(time.time(), 3)
            write_json(self._path, self._values, durable=False)


def read_progress(path: Path) -> dict[str, Any]:
    """Return the last progress written, or an empty dictionary."""
    try:
        value = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}

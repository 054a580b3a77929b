"""What segbatch needs of a place where tasks execute."""

from __future__ import annotations

from typing import Protocol

from segbatch.runs.run import Run


class Scheduler(Protocol):
    """Starts the tasks of runs, and stops them."""

    name: str

    def submit(self, run: Run) -> None:
        """Start all tasks of `run` that are not done, and its finishing task after them.

        Raises:
            SegbatchError: they could not be started, or already run.
        """

    def cancel(self, run: Run) -> bool:
        """Ask the tasks of `run` to finish what they have in hand and stop; False if none runs."""

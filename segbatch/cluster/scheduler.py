"""What segbatch needs of a place where tasks execute."""

from __future__ import annotations

from typing import Protocol

from segbatch.runs.run import Run


class Scheduler(Protocol):
    """Starts the tasks of runs, and stops them."""

    @property
    def name(self) -> str:
        """`local` or `slurm`."""

    def submit(self, run: Run) -> None:
        """Start all tasks of `run` that are not done, and its finishing task after them.

        Raises:
            SegbatchError: they could not be started, or already run.
        """

    def cancel(self, run: Run, *, now: bool = False) -> bool:
        """Ask the tasks of `run` to finish what they have in hand and stop (with `now`, kill them).

        Returns:
            False if none runs or waits.
        """

"""The overlap guard: what a start does about runs of the same schedule that are still at work."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from segbatch.cluster.backend import choose_backend, slurm_scheduler
from segbatch.cluster.cron.store import Fire
from segbatch.cluster.pipelines import next_end
from segbatch.cluster.works import WorkStatus, at_work, look, look_all, open_work, stop
from segbatch.errors import InputError
from segbatch.spec.site import Site

LOOK_BACK = 5
"""Newest runs of a schedule that may still be at work."""
POLL_S = 30.0
PATIENCE_S = 600.0
"""How long a run on this machine may take to stop before it is killed."""


@dataclass(frozen=True)
class Way:
    """Whether a start may go ahead."""

    skip: str = ""
    """Why not, in words; empty if it may."""
    after: str = ""
    """What its tasks wait for, as sbatch takes it; empty for nothing."""
    behind: Path | None = None
    """Folder of the run that they wait for by that."""


@dataclass(frozen=True)
class _Others:
    """What is at work: runs, and starts that have no run yet."""

    runs: Sequence[WorkStatus]
    starts: Sequence[Fire]

    def __len__(self) -> int:
        return len(self.runs) + len(self.starts)


def make_way(
    rule: Literal["skip", "queue", "replace"],
    earlier: Callable[[], Sequence[Fire]],
    site: Site,
    sleep: Callable[[float], None] = time.sleep,
    backend: str | None = None,
) -> Way:
    """Apply the rule to what is at work.

    Args:
        rule: of the schedule.
        earlier: looks up the starts that were taken before this one.
        site: the cluster.
        sleep: waits so many seconds.
        backend: where the new run goes, if that was asked for.

    Raises:
        SegbatchError: a run cannot be stopped from here.
    """
    others = _look(earlier(), site)
    if not len(others):
        return Way()
    if rule == "replace":
        if others.starts:
            return Way(skip=f"the start of {others.starts[0].key} is just under way")
        for status in others.runs:
            _stop(status, site, sleep)
        return Way()
    unknown = next((status for status in others.runs if status.state == "unknown"), None)
    if rule == "skip" or unknown is not None:
        return Way(skip=_words(others, unknown))
    if len(others) > 1:
        return Way(skip="one start waits already for the run before")
    if others.runs and others.runs[0].backend == "slurm" and choose_backend(backend, site) == "slurm":
        folder = others.runs[0].folder
        return Way(after=next_end(folder, slurm_scheduler(site)), behind=folder)
    return _wait(others, earlier, site, sleep)


def _look(fires: Sequence[Fire], site: Site) -> _Others:
    runs = []
    for fire in [fire for fire in fires if fire.run is not None][-LOOK_BACK:]:
        try:
            runs.append(open_work(fire.run))  # type: ignore[arg-type]
        except InputError:
            # It was removed since.
            continue
    open_runs = [status for status in look_all(runs, site) if at_work(status)]
    return _Others(open_runs, [fire for fire in fires if fire.at_work])


def _words(others: _Others, unknown: WorkStatus | None) -> str:
    if unknown is not None:
        return f"nobody can tell whether {unknown.label} is still at work"
    if others.runs:
        return f"{others.runs[-1].label} is still {others.runs[-1].state}"
    return f"the start of {others.starts[0].key} is just under way"


def _wait(others: _Others, earlier: Callable[[], Sequence[Fire]], site: Site, sleep: Callable[[float], None]) -> Way:
    """Wait here, where no scheduler does it."""
    while len(others):
        if any(status.state == "unknown" for status in others.runs):
            return Way(skip=_words(others, others.runs[0]))
        sleep(POLL_S)
        others = _look(earlier(), site)
    return Way()


def _stop(status: WorkStatus, site: Site, sleep: Callable[[float], None]) -> None:
    """End a run; on this machine wait for its end, since the new one needs its place."""
    stop(status, site)
    work = open_work(status.folder)
    waited = 0.0
    while status.backend != "slurm" and at_work(look(work, site)):
        sleep(1.0)
        waited += 1.0
        if waited == PATIENCE_S:
            stop(status, site, now=True)

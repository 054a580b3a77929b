"""What a job file starts, a run or a pipeline's, for those who need not know which: schedules, lists and retention."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from segbatch.cluster.backend import slurm_scheduler
from segbatch.cluster.local import LocalScheduler
from segbatch.cluster.observe import Observer
from segbatch.cluster.pipelines import PipelineObserver, cancel
from segbatch.runs.pipeline_status import PipelineStatus
from segbatch.runs.pipelines import Pipeline, is_pipeline_run, open_pipeline
from segbatch.runs.run import Run, open_run
from segbatch.runs.status import RunStatus
from segbatch.spec.site import Site

Work = Run | Pipeline
WorkStatus = RunStatus | PipelineStatus


def open_work(folder: Path) -> Work:
    """Open a run, or a pipeline's, by its folder.

    Raises:
        InputError: the folder holds neither, or one of another version.
    """
    return open_pipeline(folder) if is_pipeline_run(folder) else open_run(folder)


def look(work: Work, site: Site) -> WorkStatus:
    """Tell what became of one."""
    return look_all([work], site)[0]


def look_all(works: Sequence[Work], site: Site) -> list[WorkStatus]:
    """Tell what became of several, in their order; of single runs without causes."""
    observer = Observer(site)
    runs = [work for work in works if isinstance(work, Run)]
    looked = iter(observer.look_all(runs, explain=False))
    return [next(looked) if isinstance(work, Run) else PipelineObserver(work, site).look() for work in works]


def at_work(status: WorkStatus) -> bool:
    """Whether it may still be at work; one that nobody can ask about counts."""
    return not status.over or status.state == "unknown"


def stop(status: WorkStatus, site: Site, *, now: bool = False) -> bool:
    """Ask it to stop after the batch in hand (`now`: at once), and start nothing further of it.

    Returns:
        Whether anything of it waited or ran.

    Raises:
        SegbatchError: it cannot be stopped from here.
    """
    if isinstance(status, PipelineStatus):
        return cancel(status.pipeline, site, now=now)
    scheduler = slurm_scheduler(site) if status.backend == "slurm" else LocalScheduler()
    return scheduler.cancel(status.run, now=now)

"""Why the tasks of a run are in trouble: what is known of each is gathered, its log included, and judged."""

from __future__ import annotations

import pwd
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from segbatch.cluster.causes import TAIL_BYTES, Evidence, cause, read_tail
from segbatch.cluster.refine import Sighting
from segbatch.runs.arrays import Arrays
from segbatch.runs.layout import RunPaths, run_folders
from segbatch.runs.ledger import submissions
from segbatch.runs.run import Run
from segbatch.runs.task_status import Cause, TaskStatus

MANY = 50
"""Tasks in trouble above which less of each log is read."""
SHORT_TAIL_BYTES = 8192
Tasks = dict[int | str, TaskStatus]


@dataclass
class Troubles:
    """Judges tasks, each again only when something about it has changed."""

    _known: dict[tuple[object, ...], Cause | None] = field(default_factory=dict)

    def explain(self, run: Run, arrays: Arrays, tasks: Tasks, seen: Mapping[int | str, Sighting]) -> Tasks:
        """Return the tasks, each that failed, or waits in vain, with its cause."""
        names = [name for name, task in tasks.items() if in_trouble(task, seen.get(name))]
        most = TAIL_BYTES if len(names) <= MANY else SHORT_TAIL_BYTES
        found = {name: self._cause(run, arrays, name, tasks[name], seen.get(name, Sighting()), most) for name in names}
        return {name: replace(task, cause=found.get(name)) for name, task in tasks.items()}

    def _cause(
        self, run: Run, arrays: Arrays, name: int | str, task: TaskStatus, seen: Sighting, most: int
    ) -> Cause | None:
        log = newest_log(run.paths, arrays, name)
        key = (run.paths.folder, name, task.state, task.code, task.message, task.why, task.host, seen, _stamp(log))
        if key not in self._known:
            tail = read_tail(log, most) if log is not None else None
            self._known[key] = cause(_evidence(run, arrays, name, task, seen, tail))
        return self._known[key]


def in_trouble(task: TaskStatus, seen: Sighting | None) -> bool:
    """Tell whether a task calls for an explanation: it did not end well, or it waits for more than its turn."""
    if task.state in ("queued", "pending"):
        return seen is not None and bool(seen.reason or seen.state)
    return task.state in ("failed", "killed", "interrupted")


def newest_log(paths: RunPaths, arrays: Arrays, name: int | str) -> Path | None:
    """Find the log of a task's newest attempts; None if there is none."""
    files = log_files(paths, arrays, name)
    return files[-1] if files else None


def log_files(paths: RunPaths, arrays: Arrays, name: int | str) -> list[Path]:
    """Return a task's log files that exist: of its attempts on this machine and of each array, the newest last."""
    slurm = [paths.logs / file for file in arrays.logs(name)]
    here = paths.log(name)
    files = [here, *slurm] if arrays.current else [*slurm, here]
    return [path for path in files if path.exists()]


def _evidence(
    run: Run, arrays: Arrays, name: int | str, task: TaskStatus, seen: Sighting, tail: str | None
) -> Evidence:
    array = arrays.array_of.get(name)
    stopped = {found.number: found.stopped for found in arrays.rounds}
    return Evidence(
        folder=str(run.paths.folder),
        task=str(name),
        job_file=run.record.job_file,
        waits=task.state in ("queued", "pending"),
        state=seen.state,
        reason=seen.reason,
        code=task.code if task.code is not None else seen.code or None,
        signal=seen.signal,
        message=task.message,
        why=task.why,
        log=tail,
        node=task.host,
        by=_user(seen.by),
        dependency=_waited_for(run, seen.dependency),
        stopped=stopped.get(array.round, "") if array is not None else "",
    )


def _stamp(path: Path | None) -> tuple[str, int, int] | None:
    """Say by which a log has changed."""
    try:
        found = path.stat() if path is not None else None
    except OSError:
        return None
    return (str(path), found.st_size, found.st_mtime_ns) if found is not None else None


def _user(by: str) -> str:
    """Name a user of whom SLURM gives the number."""
    try:
        return pwd.getpwuid(int(by)).pw_name
    except (ValueError, KeyError, OverflowError):
        return by


def _waited_for(run: Run, dependency: str) -> str:
    """Name the runs that a dependency such as `afterok:123_*(failed)` is about, or else its jobs."""
    jobs = re.findall(r"(?<=:)\d+", dependency)
    if not jobs:
        return ""
    known: dict[str, str] = {}
    for folder in run_folders(run.paths.folder.parent.parent):
        for submission in submissions(RunPaths(folder)):
            job = str(submission.facts.get("job", ""))
            if job in jobs:
                known[job] = f"run {folder.parent.name}/{folder.name} (job {job})"
    return ", ".join(known.get(job, f"job {job}") for job in dict.fromkeys(jobs))

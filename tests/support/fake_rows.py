"""What the programs of the fake SLURM print about its jobs."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from tests.support.fake_jobs import FakeJob, FakeTask


def _start(task: FakeTask) -> str:
    return datetime.fromtimestamp(task.started).isoformat(timespec="seconds") if task.started else "N/A"


_QUEUE: dict[str, Callable[[FakeTask], str]] = {
    "jobarrayid": lambda task: task.name,
    "jobid": lambda task: task.raw,
    "arrayjobid": lambda task: task.array,
    "arraytaskid": lambda task: "N/A" if task.index is None else str(task.index),
    "state": lambda task: task.state,
    "reason": lambda task: task.reason,
    "nodelist": lambda task: task.node,
    "timeleft": lambda task: "1-00:00:00",
    "starttime": _start,
    "dependency": lambda task: f"{task.dependency}(unfulfilled)" if task.dependency else "(null)",
    "exit_code": lambda task: str(task.status),
    "restartcnt": lambda task: str(task.restarts),
    "comment": lambda task: task.comment or "(null)",
}


def _listed(job: FakeJob) -> Iterator[FakeTask]:
    if job.remainder_cancelled:
        yield FakeTask(job.id, None, job.id, comment=job.comment, state="CANCELLED")
    yield from (task for task in job.tasks.values() if task.listed)


def queue_rows(jobs: Iterable[FakeJob], pattern: str) -> str:
    """Answer `squeue -h -r -t all -O FIELD:SUFFIX,...`."""
    columns = [re.fullmatch(r"(\w+):(.*)", part, re.DOTALL) for part in pattern.split(",")]
    parts = [(_QUEUE[column[1].lower()], column[2]) for column in columns if column]
    rows = [task for job in jobs for task in _listed(job)]
    return "".join("".join(show(task) + suffix for show, suffix in parts) + "\n" for task in rows)


def state_rows(jobs: Iterable[FakeJob]) -> str:
    """Answer `squeue -h --only-job-state --format=%i=%T`: waiting tasks of an array stand in one row."""
    lines = []
    for job in jobs:
        waiting = [task for task in _listed(job) if task.state == "PENDING" and task.index is not None]
        if waiting:
            lines.append(f"{job.id}_[{','.join(str(task.index) for task in waiting)}]=PENDING")
        lines += [f"{task.name}={task.state}" for task in _listed(job) if task not in waiting]
    return "".join(f"{line}\n" for line in lines)


def queue_json(jobs: Iterable[FakeJob], version: str) -> str:
    """Answer `squeue --json` in the shape of 22.05 or 24.11, with another user's job in front."""
    of = _json_22_05 if version == "22.05" else _json_24_11
    other = {"job_id": 1, "user_id": 4242, "job_state": "RUNNING", "array_job_id": 0, "array_task_id": None}
    return json.dumps({"jobs": [other, *(of(task) for job in jobs for task in _listed(job))], "errors": []})


def _json_22_05(task: FakeTask) -> dict[str, Any]:
    return {
        "job_id": int(task.raw),
        "array_job_id": int(task.array) if task.index is not None else 0,
        "array_task_id": task.index,
        "array_task_string": "",
        "job_state": task.state,
        "state_reason": task.reason,
        "comment": task.comment,
        "nodes": task.node,
        "start_time": int(task.started or 0),
        "exit_code": task.status,
        "restart_cnt": task.restarts,
        "dependency": task.dependency,
        "user_id": os.getuid(),
    }


def _json_24_11(task: FakeTask) -> dict[str, Any]:
    def number(value: int | None) -> dict[str, Any]:
        return {"set": value is not None, "infinite": False, "number": value or 0}

    code, signal = task.status >> 8, task.status & 127
    return _json_22_05(task) | {
        "array_job_id": number(int(task.array) if task.index is not None else 0),
        "array_task_id": number(task.index),
        "job_state": [task.state],
        "start_time": number(int(task.started or 0)),
        "exit_code": {
            "status": ["SIGNALED" if signal else "ERROR" if code else "SUCCESS"],
            "return_code": number(None if signal else code),
            "signal": {"id": number(signal or None), "name": ""},
        },
    }


def accounting_rows(jobs: Sequence[FakeJob], wanted: Sequence[str] | None, columns: Sequence[str], end: str) -> str:
    """Answer `sacct -X -D -n -P -o COLUMNS`, times as with SLURM_TIME_FORMAT=%s."""
    lines = []
    for job in jobs:
        for task in job.tasks.values():
            if wanted is None or job.id in wanted or task.name in wanted:
                rows = [*task.past, *([] if _in_remainder(job, task) else [task])]
                lines += [end.join(_account(row, column) for column in columns) for row in rows]
        if wanted is None or job.id in wanted:
            lines += [end.join(_account(row, column) for column in columns) for row in _remainders(job)]
    return "".join(f"{line}\n" for line in lines)


def _in_remainder(job: FakeJob, task: FakeTask) -> bool:
    return task.index is not None and task.raw == job.id and task.started is None and not task.past


def _remainders(job: FakeJob) -> Iterator[FakeTask]:
    """One row for all that wait; once cancelled, the real one names every task that the array ever had."""
    of = [task for task in job.tasks.values() if _in_remainder(job, task)]
    cancelled = [task for task in of if task.state == "CANCELLED"]
    waiting = [task for task in of if task.state != "CANCELLED"]
    if cancelled:
        yield replace(cancelled[0], array=f"{job.id}_[{job.options['array']}]", index=None)
    if waiting:
        indexes = ",".join(str(task.index) for task in waiting)
        yield replace(waiting[0], array=f"{job.id}_[{indexes}]", index=None)


def _account(task: FakeTask, column: str) -> str:
    def moment(value: float | None) -> str:
        return str(int(value)) if value else "Unknown"

    values = {
        "JobID": task.name,
        "JobIDRaw": task.raw,
        "State": f"CANCELLED by {os.getuid()}" if task.state == "CANCELLED" else task.state,
        "ExitCode": f"{task.status >> 8 & 0x7F}:{task.status & 0x7F}",  # Masked, as the real one does.
        "NodeList": task.node or "None assigned",
        "Submit": moment(task.submitted),
        "Start": moment(task.started),
        "End": moment(task.ended),
        "Reason": task.reason,
        "Comment": task.comment,
    }
    return values[column]


def job_line(job: FakeJob, task: FakeTask) -> str:
    """Answer `scontrol -o show job`."""
    array = f" ArrayJobId={job.id} ArrayTaskId={task.index}" if task.index is not None else ""
    return (
        f"JobId={task.raw}{array} JobName={job.options.get('job-name', job.script.name)} "
        f"UserId=tester({os.getuid()}) JobState={task.state} Reason={task.reason} "
        f"Dependency={task.dependency or '(null)'} Requeue=1 Restarts={task.restarts} "
        f"ExitCode={task.status >> 8}:{task.status & 127} NodeList={task.node or '(null)'} "
        f"Command={job.script} WorkDir={job.cwd} Comment={task.comment or '(null)'} StdOut=/dev/null"
    )

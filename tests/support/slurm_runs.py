"""Run folders as batch scripts and workers on a cluster leave them, written by hand."""

from __future__ import annotations

import getpass
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segbatch.runs import ledger
from segbatch.runs.files import append_line, write_json
from segbatch.runs.layout import FINISH
from segbatch.runs.run import Run, open_run
from tests.support.labels import TWO_CLASSES

NOW = 1_700_000_000.0
NODE = "node1"


def write_run(root: Path, tasks: int = 3, tiles: int = 10, run_id: str = "20260101-000000-0000", **record: Any) -> Run:
    """Write a predict run of so many tasks of so many tiles; nothing was submitted."""
    folder = root / "runs" / "job" / run_id
    for name in (*range(tasks), FINISH):
        (folder / "tasks" / str(name)).mkdir(parents=True)
    (folder / "logs").mkdir()
    values = {
        "schema_version": 1,
        "id": run_id,
        "name": "job",
        "kind": "predict",
        "created": "2026-01-01T00:00:00+00:00",
        "job_file": "/jobs/job.yaml",
        "labels": TWO_CLASSES.model_dump(mode="json", exclude_defaults=True),
        "tiles": tasks * tiles,
        "images_root": "/data/images",
        "masks_root": "",
        "predictions_root": "",
        "bundle": "/models/forest",
        "shards": [(task * tiles, tiles, 0) for task in range(tasks)],
        "digests": {},
        "versions": {},
    }
    write_json(folder / "run.json", values | record)
    return open_run(folder)


@dataclass
class Story:
    """Tells a run's folder what happens to it on SLURM, with a clock of its own."""

    run: Run
    now: float = NOW - 1000
    round: int = 1

    def wait(self, seconds: float) -> Story:
        """Let time pass."""
        self.now += seconds
        return self

    def submit(
        self,
        indexes: str,
        job: str = "100",
        *,
        role: str = "tasks",
        offset: int = 0,
        token: str = "",
        then: str = "submitted",
        user: str = "",
        words: str = "",
    ) -> str:
        """Write the ledger's lines of one array; `then` is what came of the call, empty for nothing."""
        token = token or f"{role}{self.round}-{offset}-{job}"
        facts = {"backend": "slurm", "round": self.round, "role": role, "script": "script-1.sbatch"}
        facts |= {"offset": offset, "indexes": indexes, "user": user or getpass.getuser(), "host": "login"}
        self._record(token, "submitting", **facts)
        if then == "submitted":
            self._record(token, then, job=job, cluster="")
        elif then:
            self._record(token, then, words=words)
        return token

    def submit_all(self, job: str = "100", finish: str = "101") -> None:
        """Submit all tasks as one array, and the finishing job."""
        self.submit(f"0-{len(self.run.tasks) - 1}", job)
        self.submit("0", finish, role=FINISH)

    def start(self, task: int | str, job: str = "", *, restart: int = 0, worker: bool = True, node: str = NODE) -> None:
        """Start an attempt: the batch script, and its worker."""
        job = job or ("101_0" if task == FINISH else f"100_{task}")
        raw = str(9000 + (0 if task == FINISH else int(task)) + 10 * int(job.partition("_")[0]))
        self._host(task, "start", job, raw, restart, node)
        if not worker:
            return
        paths = self.run.paths.task(task)
        attempt = len(list(paths.folder.glob("journal-*.csv"))) + 1
        paths.journal(attempt).touch()
        ids = {"SLURM_JOB_ID": raw, "SLURM_ARRAY_JOB_ID": job.partition("_")[0]}
        ids |= {"SLURM_RESTART_COUNT": str(restart)} if restart else {}
        line = {"event": "start", "attempt": attempt, "time": self.now, "host": node, "pid": 1, "started": 1}
        append_line(paths.attempts, line | {"scheduler": ids})

    def progress(self, task: int | str, done: int, total: int = 10, rate: float | None = 2.0, note: str = "") -> None:
        """Write how far a task is."""
        values = {"done": done, "total": total, "unit": "tiles", "rate": rate, "note": note, "updated": self.now}
        write_json(self.run.paths.task(task).progress, values)

    def end(
        self,
        task: int | str,
        code: int = 0,
        then: str = "end",
        why: str = "",
        *,
        job: str = "",
        restart: int = 0,
        message: str | None = "",
    ) -> None:
        """End an attempt; without a message the worker was killed and only the batch script has words."""
        job = job or ("101_0" if task == FINISH else f"100_{task}")
        paths = self.run.paths.task(task)
        if message is not None:
            attempt = len(list(paths.folder.glob("journal-*.csv")))
            line = {"event": "end", "attempt": attempt, "time": self.now, "code": code, "message": message}
            append_line(paths.attempts, line)
        facts = {"code": code, "seconds": 10, "then": then, "why": why}
        self._host(task, "end", job, "", restart, NODE, **facts)

    def log(self, task: int | str, text: str, job: str = "") -> Path:
        """Add to a task's log, below the line with which its batch script begins."""
        path = self.run.paths.logs / f"{job or ('101_0' if task == FINISH else f'100_{task}')}.log"
        with path.open("a") as handle:
            handle.write(f"--- 2026-01-01T00:00:00Z job {path.stem}, task {task}, on {NODE}, restart 0\n{text}\n")
        return path

    def mark(self, name: str, text: str = "") -> None:
        """Leave a mark in the folder of the round."""
        path = self.run.paths.round(self.round) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def _host(self, task: int | str, event: str, job: str, raw: str, restart: int, node: str, **facts: Any) -> None:
        token = next(
            (
                found.token
                for found in reversed(ledger.submissions(self.run.paths))
                if found.facts.get("job") == job.partition("_")[0]
            ),
            "unknown",
        )
        line = {"event": event, "time": self.now, "job": job, "raw": raw, "restart": restart, "node": node}
        append_line(self.run.paths.task(task).host, line | {"token": token, "round": self.round} | facts)

    def _record(self, token: str, state: str, **facts: Any) -> None:
        line = {"time": self.now, "token": token, "state": state, **facts}
        append_line(self.run.paths.ledger, json.loads(json.dumps(line)))

"""One array asked of SLURM exactly once: a ledger line before the call, and a token by which it is found again."""

from __future__ import annotations

import getpass
import itertools
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from segbatch.cluster.render import Order, comment
from segbatch.cluster.slurm.client import Slurm, SlurmRefusedError, SlurmUnavailableError, SlurmUnclearError
from segbatch.cluster.slurm.queue import QueueView
from segbatch.runs import ledger
from segbatch.runs.files import write_text
from segbatch.runs.host import read_host
from segbatch.runs.indexes import expand_indexes
from segbatch.runs.layout import FINISH, RunPaths
from segbatch.runs.ledger import Submission

SETTLED_S = 120.0
"""An sbatch that is in no queue this long after it was called never arrived."""
LOOKS_S = (1.0, 2.0, 4.0, 8.0, 15.0)
"""Pauses between looks for a job whose sbatch did not answer."""


class Submitting(Protocol):
    """What has a ledger of submissions: a run, or a pipeline's."""

    @property
    def paths(self) -> RunPaths:
        """Its files."""

    @property
    def label(self) -> str:
        """How commands name it."""


@dataclass(frozen=True)
class Sender:
    """Submits the orders of one run."""

    run: Submitting
    slurm: Slurm
    view: QueueView
    render: Callable[[Order], str]
    pauses: Sequence[float] = LOOKS_S

    def send(self, order: Order) -> str:
        """Submit one order and return its array's id.

        Raises:
            SlurmRefusedError: SLURM said no; nothing was queued.
            SlurmUnavailableError: there is nobody to ask; nothing was queued.
            SlurmUnclearError: SLURM did not answer and the job is not in the queue (yet); the ledger says `uncertain`.
        """
        order = replace(order, token=secrets.token_hex(8))
        script = self._write_script(self.render(order))
        ledger.record(
            self.run.paths,
            order.token,
            "submitting",
            backend="slurm",
            round=order.round,
            role=order.role,
            script=script,
            offset=order.offset,
            indexes=order.indexes,
            user=getpass.getuser(),
            host=socket.gethostname(),
        )
        try:
            job, cluster = self.slurm.submit(script, self.run.paths.folder)
        except (SlurmRefusedError, SlurmUnavailableError) as error:
            ledger.record(self.run.paths, order.token, "refused", words=error.words)
            raise
        except SlurmUnclearError as error:
            found = self._look_for(order.token)
            if found is None:
                ledger.record(self.run.paths, order.token, "uncertain", words=error.words)
                raise
            job, cluster = found, ""
        ledger.record(self.run.paths, order.token, "submitted", job=job, cluster=cluster)
        return job

    def _write_script(self, text: str) -> str:
        paths = self.run.paths
        number = next(number for number in itertools.count(1) if not paths.script(number).exists())
        write_text(paths.script(number), text)
        return paths.script(number).name

    def _look_for(self, token: str) -> str | None:
        for pause in (0.0, *self.pauses):
            time.sleep(pause)
            found = find_job(self.view, token)
            if found is not None:
                return found
        return None


def find_job(view: QueueView, token: str) -> str | None:
    """Return the array id of the job that carries a token; None while the queue knows none (or cannot be asked)."""
    rows = view.rows(not_before=time.time()).rows
    return next((row.array for row in rows if row.comment == comment(token)), None)


def settle(run: Submitting, view: QueueView, now: float | None = None) -> list[Submission]:
    """Find out what became of calls whose answer was lost, note it in the ledger, and return all submissions.

    A job is found by what its tasks wrote, or in the queue by its token. One that is in neither, long after the call,
    never reached SLURM.
    """
    now = time.time() if now is None else now
    for submission in ledger.submissions(run.paths):
        if submission.facts.get("backend") != "slurm" or submission.state not in ("submitting", "uncertain"):
            continue
        job = _job_by_its_tasks(run, submission)
        if job is None:
            snapshot = view.rows(not_before=now)
            rows = [row for row in snapshot.rows if row.comment == comment(submission.token)]
            job = rows[0].array if rows else None
            if job is None and not snapshot.trouble and now - float(submission.facts["time"]) > SETTLED_S:
                ledger.record(run.paths, submission.token, "refused", words="the call never reached SLURM")
        if job is not None:
            ledger.record(run.paths, submission.token, "submitted", job=job, found="again")
    return ledger.submissions(run.paths)


def _job_by_its_tasks(run: Submitting, submission: Submission) -> str | None:
    for task in tasks_of(submission):
        for attempt in read_host(run.paths.task(task)):
            if attempt.token == submission.token:
                return attempt.job.partition("_")[0]
    return None


def tasks_of(submission: Submission) -> list[int | str]:
    """Return the tasks that a submission asks for."""
    if submission.facts.get("role") == FINISH:
        return [FINISH]
    offset = int(submission.facts["offset"])
    return [offset + index for index in expand_indexes(str(submission.facts["indexes"]))]

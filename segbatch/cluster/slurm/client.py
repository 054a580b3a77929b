"""SLURM's programs, called with argv lists; the only file that starts them."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from segbatch.cluster.slurm.answers import (
    SlurmError,
    SlurmRefusedError,
    SlurmUnavailableError,
    SlurmUnclearError,
    error_of,
    lost_answer,
    plain_words,
)
from segbatch.cluster.slurm.programs import execute, scrubbed
from segbatch.cluster.slurm.rows import (
    ACCOUNT_FIELDS,
    FIELD_END,
    PARTITION_FORMAT,
    QUEUE_FORMAT,
    AccountRow,
    Partition,
    QueueRow,
    parse_accounting,
    parse_config,
    parse_job,
    parse_partitions,
    parse_queue,
    parse_queue_json,
    parse_submitted,
    parse_version,
    table,
    tasks_of_row,
)
from segbatch.cluster.slurm.states import read_state

__all__ = ["Slurm", "SlurmError", "SlurmRefusedError", "SlurmUnavailableError", "SlurmUnclearError"]

_QUERY = {"SLURM_TIME_FORMAT": "%s", "SLURM_BITSTR_LEN": "0"}
"""Times as seconds since 1970, which no daylight saving bends; lists of array indexes in full."""
_MANY = 500
"""Job ids in one command line."""
_SIGNALS_AT_ONCE = 10
_ONE_SIGNAL_S = 3.0
_TRIES = 3
_TELLING = {"--test-only", "--json", "--version"}
_SHOWN = 80
"""Characters of a command line in messages."""
_FIRST_PAUSE_S = 0.2
_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Slurm:
    """SLURM as its programs show it.

    Queries and `cancel` are tried again after a lost answer, with growing pauses; what a repeat would do twice is asked
    once. Every call ends within `timeout_s` seconds.
    """

    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    """Environment of the programs; what an enclosing job left in it (SLURM_*, SBATCH_*, PMIX_*) is taken out."""
    timeout_s: float = 30.0

    # Submitting: asked once, whatever happens.

    def submit(self, script: str, cwd: Path) -> tuple[str, str]:
        """Queue a batch script, once.

        Args:
            script: its name, relative to `cwd`.
            cwd: folder to call sbatch in: the run folder.

        Returns:
            Job id (of an array: its base id) and cluster, which is empty where SLURM names none.

        Raises:
            SlurmRefusedError: SLURM said no; nothing was queued.
            SlurmUnclearError: the answer was lost; the job may be queued.
            SlurmUnavailableError: there is no SLURM here; nothing was queued.
        """
        argv = ["sbatch", "--parsable", script]
        answer = self._once(argv, cwd=cwd, changes=True)
        try:
            return parse_submitted(answer)
        except ValueError as error:
            raise SlurmUnclearError(_tried(argv), str(error)) from None

    def test_only(self, script: str, cwd: Path) -> str:
        """Ask what would become of a batch script, and queue nothing.

        Returns:
            SLURM's sentence on when and where it would start.

        Raises:
            SlurmRefusedError: SLURM would refuse it.
            SlurmUnavailableError: SLURM cannot be asked.
        """
        argv = ["sbatch", "--test-only", script]
        return self._repeated(lambda left: plain_words(self._run(argv, left, cwd=cwd, both=True)))

    # Asking.

    def queue(self) -> list[QueueRow]:
        """Ask once for all jobs of this user that the controller knows, those just ended as well.

        Raises:
            SlurmUnavailableError: SLURM cannot be asked.
        """
        argv = ["squeue", "--me", "--noheader", "--array", "--states=all", "-O", QUEUE_FORMAT]
        environ = {"SLURM_BITSTR_LEN": "0"}
        try:
            text = self._repeated(lambda left: self._run(argv, left, extra=environ))
            rows = parse_queue(text)
            if rows or not text.strip():
                return rows
        except SlurmRefusedError:
            pass
        # A squeue that knows no such columns; its JSON is larger, and in 22.05 lists everybody's jobs.
        text = self._repeated(lambda left: self._run(["squeue", "--json"], left))
        try:
            return parse_queue_json(text, os.getuid())
        except ValueError as error:
            raise SlurmUnavailableError(
                "squeue --json", str(error), "This version of SLURM is not understood."
            ) from None

    def states(self, arrays: Sequence[str]) -> dict[str, str]:
        """Ask for the states of jobs and nothing else, which costs the controller no lock; needs SLURM 24.05.

        Args:
            arrays: ids of arrays, or of jobs outside arrays.

        Returns:
            States by task (`123_4`), as their canonical names.

        Raises:
            SlurmError: this squeue has no such question, or cannot ask it.
        """
        argv = ["squeue", "--noheader", "--only-job-state", "--states=all", "--format=%i=%T"]
        text = self._run([*argv, f"--jobs={','.join(arrays)}"], self.timeout_s, extra={"SLURM_BITSTR_LEN": "0"})
        pairs = (line.strip().partition("=") for line in text.splitlines())
        return {task: read_state(state).name for job, _, state in pairs for task, _ in tasks_of_row(job)}

    def accounting(self, jobs: Sequence[str] | None, since: float) -> list[AccountRow]:
        """Ask the accounting database, for all incarnations of each task.

        Args:
            jobs: ids, of arrays or of tasks (`123_4`); None for all jobs of this user that were started.
            since: seconds since 1970. Rows of jobs submitted before are left out: ids are used again.

        Raises:
            SlurmUnavailableError: there is no accounting, or the database is down.
        """
        fields = ",".join(ACCOUNT_FIELDS)
        # An hour of slack: the local time given here is twice the same when daylight saving ends.
        start = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(max(since - 3600, 0)))
        argv = [
            "sacct",
            "-X",
            "-D",
            "-n",
            "-P",
            f"--delimiter={FIELD_END}",
            f"--starttime={start}",
            f"--format={fields}",
        ]
        rows: list[AccountRow] = []
        for which in [["-u", str(os.getuid())]] if jobs is None else [["-j", ",".join(part)] for part in _parts(jobs)]:
            rows += parse_accounting(self._ask([*argv, *which]), int(since))
        return rows

    def job(self, job: str) -> dict[str, str] | None:
        """Ask for all that the controller says of one job or task; None when it does not know it (any more).

        Raises:
            SlurmUnavailableError: SLURM cannot be asked.
        """
        try:
            text = self._ask(["scontrol", "--oneliner", "show", "job", job])
        except SlurmRefusedError as error:
            if error.unknown_job:
                return None
            raise
        found = [parse_job(line) for line in text.splitlines() if "JobId=" in line]
        # Asked for an array, it answers with all its tasks.
        return next((facts for facts in found if facts.get("JobId") == job), found[0] if found else None)

    def config(self) -> dict[str, str]:
        """Ask for the controller's settings, as `scontrol show config` names them."""
        return parse_config(self._ask(["scontrol", "show", "config"]))

    def version(self) -> tuple[int, int]:
        """Version of the programs here, such as (22, 5); needs no controller.

        Raises:
            SlurmUnavailableError: there is no SLURM here.
        """
        return parse_version(self._ask(["sbatch", "--version"]))

    def ping(self) -> bool:
        """Tell whether a controller answers."""
        try:
            return "is UP" in self._run(["scontrol", "ping"], self.timeout_s)
        except SlurmError:
            return False

    def partitions(self) -> list[Partition]:
        """Ask for the partitions that this user may see."""
        return parse_partitions(self._ask(["sinfo", "--noheader", "-o", PARTITION_FORMAT]))

    def associations(self, user: str, cluster: str = "") -> list[dict[str, str]]:
        """Ask for a user's associations, with what they inherit from their account; empty limits mean none.

        Returns:
            Rows with the keys Account, DefaultAccount, Partition, MaxSubmitJobs, GrpSubmitJobs, MaxJobs, DefaultQOS
            and QOS.
        """
        columns = (
            "Account",
            "DefaultAccount",
            "Partition",
            "MaxSubmitJobs",
            "GrpSubmitJobs",
            "MaxJobs",
            "DefaultQOS",
            "QOS",
        )
        where = [f"name={user}", *([f"cluster={cluster}"] if cluster else [])]
        argv = ["sacctmgr", "-n", "-P", "show", "user", "withassoc", "where", *where, f"format={','.join(columns)}"]
        return table(self._ask(argv), columns)

    def qos(self) -> list[dict[str, str]]:
        """Ask for the qualities of service: keys Name, MaxSubmitJobsPU, MaxSubmitJobsPA, GrpSubmitJobs."""
        columns = ("Name", "MaxSubmitJobsPU", "MaxSubmitJobsPA", "GrpSubmitJobs")
        return table(self._ask(["sacctmgr", "-n", "-P", "show", "qos", f"format={','.join(columns)}"]), columns)

    # Changing.

    def cancel(self, jobs: Sequence[str], *, pending_only: bool = False, signal: str | None = None) -> None:
        """Cancel jobs, arrays or tasks; unknown and ended ones are passed over in silence.

        Args:
            jobs: ids such as `123`, `123_4`, `123_[0-3]`.
            pending_only: leave running ones alone.
            signal: send this to the batch scripts of running ones (`USR1`) and cancel nothing.

        Raises:
            SlurmRefusedError: they are not this user's.
            SlurmUnclearError: the answer was lost.
        """
        if signal:
            self._signal(jobs, signal)
            return
        # With --state=PENDING, scancel takes a part of an array's waiting tasks for all of them.
        if pending_only and any("_" in job for job in jobs):
            jobs, pending_only = [row.job for row in self._rows_of(jobs) if row.state.phase == "waiting"], False
        argv = ["scancel", *(["--state=PENDING"] if pending_only else [])]
        for part in _parts(jobs):
            self._repeated(partial(self._run, [*argv, *part], changes=True))

    def _signal(self, jobs: Sequence[str], name: str) -> None:
        """Send a signal to the batch scripts of running tasks.

        While other tasks of the array wait, scancel (22.05) calls its success a "transitional state" and tries again
        every 5 seconds for a minute and a half, a signal each time, ten tasks at once: it is stopped in time.
        """
        rows = self._rows_of(jobs)
        crowded = any(row.state.phase == "waiting" for row in rows)
        argv = ["scancel", *(["--verbose"] if crowded else []), "--batch", f"--signal={name}"]
        limit = min(_ONE_SIGNAL_S, self.timeout_s) if crowded else self.timeout_s
        running = [row.job for row in rows if row.state.phase == "running"]
        for part in _parts(running, _SIGNALS_AT_ONCE if crowded else _MANY):
            try:
                self._run([*argv, *part], limit, changes=True)
            except SlurmError as error:
                if not (error.unknown_job or "transitional state" in error.words):
                    raise

    def _rows_of(self, jobs: Sequence[str]) -> list[QueueRow]:
        wanted = {name for job in jobs for name, _ in tasks_of_row(job)}
        return [row for row in self.queue() if row.job in wanted or row.array in wanted]

    def requeue(self, job: str) -> None:
        """Start a task again: `123_4`. Never give the raw id of an array's task: the last one has the array's.

        Raises:
            SlurmRefusedError: SLURM does not know it, or it may not be requeued.
            SlurmUnclearError: the answer was lost.
        """
        self._once(["scontrol", "requeue", job], changes=True)

    def release(self, job: str) -> None:
        """Let a held job go."""
        self._once(["scontrol", "release", job], changes=True)

    def update(self, job: str, **fields: str | int) -> None:
        """Change a job: `update("123", ArrayTaskThrottle=3)`."""
        self._once(
            ["scontrol", "update", f"JobId={job}", *(f"{key}={value}" for key, value in fields.items())], changes=True
        )

    # How programs are called.

    def _ask(self, argv: Sequence[str]) -> str:
        return self._repeated(lambda left: self._run(argv, left, extra=_QUERY))

    def _once(self, argv: Sequence[str], *, cwd: Path | None = None, changes: bool = False) -> str:
        return self._run(argv, self.timeout_s, cwd=cwd, changes=changes)

    def _repeated(self, call: Callable[[float], _Answer]) -> _Answer:
        """Call until there is an answer, with growing pauses; `call` is given the seconds that it may take."""
        began, pause, tries = time.monotonic(), _FIRST_PAUSE_S, 1
        while True:
            try:
                return call(self.timeout_s - (time.monotonic() - began))
            except SlurmError as error:
                # The programs wait for a busy controller themselves; a long silence is not made better by another.
                late = time.monotonic() - began + pause > self.timeout_s / 4
                if not error.passing or late or tries == _TRIES:
                    raise
            time.sleep(pause)
            pause, tries = 2 * pause, tries + 1

    def _run(
        self,
        argv: Sequence[str],
        timeout_s: float,
        *,
        cwd: Path | None = None,
        changes: bool = False,
        extra: Mapping[str, str] | None = None,
        both: bool = False,
    ) -> str:
        """Run one program and return what it printed (`both`: on standard error as well)."""
        environ = {**scrubbed(self.environ), **(extra or {})}
        program = shutil.which(argv[0], path=environ.get("PATH", os.defpath))
        if program is None:
            raise SlurmUnavailableError(
                _tried(argv), f"no program {argv[0]} on PATH", "Is this a login node of a SLURM cluster?"
            )
        outcome = execute([program, *argv[1:]], environ, cwd, timeout_s)
        if outcome.code == 0:
            return outcome.out + outcome.err if both else outcome.out
        words = plain_words(outcome.err) or plain_words(outcome.out)
        if outcome.code is None:
            words = "; ".join(filter(None, [f"no answer within {timeout_s:.0f} s", words]))
            raise lost_answer(_tried(argv), words, changes=changes)
        raise error_of(_tried(argv), words or f"exit code {outcome.code}", changes=changes)


def _tried(argv: Sequence[str]) -> str:
    """Name a call in few words: the program and what it was about, without formats."""
    shown = [word for word in argv[1:] if word in _TELLING or not (word.startswith(("-", "%")) or FIELD_END in word)]
    return " ".join([argv[0], *shown])[:_SHOWN]


def _parts(jobs: Sequence[str], size: int = _MANY) -> list[Sequence[str]]:
    return [jobs[first : first + size] for first in range(0, len(jobs), size)]

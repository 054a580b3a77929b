"""Telling those who want to know of a run's end, once; whatever goes wrong, the run is what it is."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from segbatch.cluster.notify.pipeline_summary import summarize_pipeline
from segbatch.cluster.notify.programs import run_command, send_mail
from segbatch.cluster.notify.summary import Outcome, Summary, outcome_of, summarize
from segbatch.cluster.notify.webhook import post
from segbatch.errors import SegbatchError
from segbatch.runs.files import append_line
from segbatch.runs.ledger import submissions
from segbatch.runs.pipeline_status import PipelineStatus
from segbatch.runs.pipelines import Pipeline
from segbatch.runs.run import Run
from segbatch.runs.status import RunStatus, run_status
from segbatch.spec.notify import Notice, Notices
from segbatch.spec.site import Site


@dataclass(frozen=True)
class Told:
    """One message, and what became of it."""

    to: str
    """Whom, without secrets."""
    trouble: str = ""
    """Why it did not arrive; empty if it did."""

    def __str__(self) -> str:
        """A line for the log."""
        return f"not told: {self.to}: {self.trouble}" if self.trouble else f"told: {self.to}"


def notices_of(run: Run | Pipeline) -> Notices:
    """Whom a run is to tell: those its job names, else those of the site that it was submitted to."""
    said = run.record.notify if isinstance(run, Pipeline) else run.job.notify
    return said or Site.model_validate(run.record.site).notify


def tell_end(
    run: Run | Pipeline,
    status: RunStatus | PipelineStatus | None = None,
    environ: Mapping[str, str] = os.environ,
    *,
    again: bool = False,
) -> list[Told]:
    """Tell of a run's end, unless that was done before; nothing is said of a run that is not over.

    Args:
        run: the run.
        status: what became of it; of a single run told from its folder by default.
        environ: holds secrets that are named by variable.
        again: tell although it was done before.

    Returns:
        A line for each that was to be told.
    """
    notices = notices_of(run)
    if not notices:
        return []
    found = run_status(Run(run.paths, run.record)) if status is None and isinstance(run, Run) else status
    if found is None:
        raise TypeError("of a pipeline the status must be given")
    outcome = outcome_of(found)
    if outcome is None or not (_claimed(run, outcome) or again):
        return []
    on_slurm = found.backend == "slurm"
    told = []
    for notice in wanted(notices, outcome, on_slurm=on_slurm):
        said = _send(notice, summary_of(found, outcome), environ)
        told.append(said)
        append_line(
            run.paths.notices(_key(run, outcome)), {"time": time.time(), "to": said.to, "trouble": said.trouble}
        )
    return told


def summary_of(status: RunStatus | PipelineStatus, outcome: Outcome) -> Summary:
    """Sum up a run, or a pipeline's, in ten lines."""
    return summarize_pipeline(status, outcome) if isinstance(status, PipelineStatus) else summarize(status)


def tell_and_log(run: Run | Pipeline, status: PipelineStatus | None = None) -> None:
    """Tell of a run's end and say on standard error what came of it; never fails."""
    try:
        for told in tell_end(run, status):
            print(told, file=sys.stderr, flush=True)
    except Exception as error:
        # The terminal may be gone, or the folder full; the run's end stays what it is.
        with suppress(OSError):
            print(f"nobody was told of the run's end: {error}", file=sys.stderr, flush=True)


def tell_all(notices: Notices, summary: Summary, environ: Mapping[str, str] = os.environ) -> list[Told]:
    """Tell of something that has no run, such as a start that failed."""
    return [_send(notice, summary, environ) for notice in wanted(notices, summary.outcome, on_slurm=False)]


def wanted(notices: Iterable[Notice], outcome: Outcome, *, on_slurm: bool) -> Iterator[Notice]:
    """Yield who wants to know of such an end; what SLURM tells by itself is left out."""
    for notice in notices:
        if notice.on in ("end", outcome) and not (on_slurm and notice.through == "slurm"):
            yield notice


def _send(notice: Notice, summary: Summary, environ: Mapping[str, str]) -> Told:
    to, send = _way(notice, summary, environ)
    try:
        send()
    except SegbatchError as error:
        return Told(to, str(error))
    except Exception as error:
        # What a message is worth is never a run; the words of a foreign error may hold a secret.
        return Told(to, type(error).__name__)
    return Told(to)


def _way(notice: Notice, summary: Summary, environ: Mapping[str, str]) -> tuple[str, Callable[[], None]]:
    if notice.mail is not None:
        address = notice.mail
        return f"mail {address}", lambda: send_mail(address, summary, environ)
    if notice.command is not None:
        command = notice.command
        return f"command {command[0]}", lambda: run_command(command, summary, environ)
    hook = notice.webhook
    assert hook is not None
    name = "webhook" if hook.url is None else f"webhook {hook.url.split('/')[2]}"
    return name, lambda: post(hook, summary, environ)


def _key(run: Run | Pipeline, outcome: Outcome) -> str:
    """What tells one end of a run from a later one, after a resume."""
    return f"{len(submissions(run.paths))}-{outcome}"


def _claimed(run: Run | Pipeline, outcome: Outcome) -> bool:
    """Take the right to tell of this end; only one process gets it."""
    path = run.paths.notices(_key(run, outcome))
    path.parent.mkdir(exist_ok=True)
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    except FileExistsError:
        return False
    return True

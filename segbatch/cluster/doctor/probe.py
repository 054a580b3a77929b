"""The tiny job sent, waited for, and removed whatever happens."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Literal

from segbatch.cluster.doctor.asking import read_facts
from segbatch.cluster.doctor.probe_script import SCRIPT, Probe, write_probe
from segbatch.cluster.render import comment
from segbatch.cluster.slurm.client import Slurm, SlurmError, SlurmUnclearError
from segbatch.cluster.slurm.queue import QueueView
from segbatch.cluster.slurm.rows import QueueRow
from segbatch.errors import SegbatchError
from segbatch.runs.files import write_text
from segbatch.spec.site import Site

TICK_S = 0.2
QUICK_TICK_S = 0.05
"""Pause between looks while a file's way is measured."""
GRACE_S = 10.0
"""Seconds in which the files of a job that has ended must appear here."""
LOST_S = 15.0
"""Age of a job, in seconds, from which on it is over when the queue does not know it."""
_TAIL = 300
Progress = Callable[[str], object]
End = Literal["told", "dead", "late", "stopped", "failed"]


@dataclass(frozen=True)
class Report:
    """What became of a probe."""

    end: End
    """`told`: the node said all; `dead`: the job ended before; `late`: nobody waited longer; `stopped`: the user did
    not wait; `failed`: it was not submitted."""
    words: str = ""
    """Why it was not submitted."""
    job: str = ""
    row: QueueRow | None = None
    """The job as the queue knew it last."""
    waited_s: float = 0.0
    gpus: int = 0
    """GPUs that it asked for."""
    said_hello: bool = False
    """A file written on the node appeared here."""
    round_trip_s: float | None = None
    """Seconds from a file written here to the node's answer seen here."""
    clock_off_s: float = 0.0
    """The node's clock less ours, in seconds, to half a round trip."""
    facts: dict[str, str] = field(default_factory=dict)
    log: str = ""
    """The end of what the script printed."""
    left_behind: str = ""
    """What could not be removed, and why."""


def send_probe(slurm: Slurm, view: QueueView, site: Site, probe: Probe, progress: Progress) -> Report:
    """Send a probe, wait for its facts, and leave neither job nor folder behind.

    Args:
        slurm: programs of the cluster.
        view: the queue, asked no more often than the site wants.
        site: whose options the job gets.
        probe: what to send; the folder of runs is made where it is not there.
        progress: told in words how far it is.
    """
    began = time.monotonic()
    sent = _Sent(slurm, view, probe, progress)
    try:
        with _stop_signals():
            probe.folder.mkdir(parents=True)
            write_probe(probe, site)
            report = sent.follow()
    except KeyboardInterrupt:
        report = replace(sent.report("stopped"), words="stopped")
    except (SegbatchError, OSError) as error:
        report = replace(sent.report("failed"), words=str(error))
    with _undisturbed():
        # The facts are the last that the script does: its job ends by itself, and not as a cancelled one.
        left = "" if report.end == "told" else sent.remove()
        shutil.rmtree(probe.folder, ignore_errors=True)
    return replace(report, waited_s=time.monotonic() - began, left_behind=left)


def new_probe(runs: Path, gpus: int, timeout_s: float) -> Probe:
    """Describe a probe with a folder of its own."""
    token = f"doctor-{secrets.token_hex(8)}"
    return Probe(runs.absolute() / f".{token}", token, gpus, timeout_s)


class _Sent:
    """One probe on its way."""

    def __init__(self, slurm: Slurm, view: QueueView, probe: Probe, progress: Progress) -> None:
        self.slurm, self.view, self.probe, self.progress = slurm, view, probe, progress
        self.job = ""
        self.row: QueueRow | None = None
        self.tried: float | None = None
        self.pinged: float | None = None
        self.round_trip_s: float | None = None
        self.clock_off_s = 0.0
        self.said_hello = False
        self.over_since: float | None = None

    def follow(self) -> Report:
        """Submit, and wait until the node has told all, the job is over or time is."""
        self.progress("submitting a tiny job")
        end = time.monotonic() + self.probe.timeout_s
        self.tried = time.time()
        try:
            self.job, _ = self.slurm.submit(SCRIPT, self.probe.folder)
        except SlurmUnclearError:
            self.progress("sbatch did not answer: looking for the job")
        except SlurmError:
            self.tried = None  # Nothing was queued.
            raise
        while True:
            names = set(os.listdir(self.probe.folder))
            self._answer(names)
            if "facts" in names:
                return self.report("told")
            self._look()
            if self.over_since is not None and time.monotonic() - self.over_since > GRACE_S:
                return self.report("dead")
            if time.monotonic() > end:
                return self.report("late")
            self.progress(self._where())
            time.sleep(QUICK_TICK_S if self.pinged and self.round_trip_s is None else TICK_S)

    def _answer(self, names: set[str]) -> None:
        """Take and give the files by which both sides learn how long one takes to appear."""
        self.said_hello = self.said_hello or "hello" in names
        if self.said_hello and self.pinged is None:
            write_text(self.probe.folder / "ping", "")
            self.pinged = time.time()
        elif self.pinged is not None and self.round_trip_s is None and "pong" in names:
            now = time.time()
            self.round_trip_s = now - self.pinged
            with contextlib.suppress(ValueError, OSError):
                there = float((self.probe.folder / "pong").read_text())
                self.clock_off_s = there - (self.pinged + now) / 2

    def _look(self) -> None:
        """Look the job up, as often as the site allows."""
        assert self.tried is not None
        snapshot = self.view.rows(not_before=self.tried)
        rows = [row for row in snapshot.rows if row.comment == comment(self.probe.token)]
        self.row = rows[0] if rows else self.row
        self.job = rows[0].array if rows else self.job
        lost = not rows and not snapshot.trouble and snapshot.taken - self.tried > LOST_S
        over = bool(rows) and rows[0].state.phase == "over"
        if (lost or over) and self.over_since is None:
            self.over_since = time.monotonic()

    def _where(self) -> str:
        if self.said_hello:
            return f"job {self.job} looks at {self.row.nodes if self.row and self.row.nodes else 'its node'}"
        if self.row is not None and self.row.state.phase == "waiting":
            return f"job {self.job} waits in the queue" + (f" ({self.row.reason})" if self.row.reason else "")
        if self.row is not None and self.row.state.phase == "running":
            return f"job {self.job} runs on {self.row.nodes}; nothing of it is to be seen here yet"
        return f"job {self.job or '(its number is not known yet)'} was submitted"

    def report(self, end: End) -> Report:
        """Say what is known."""
        facts = self._read("facts") or self._read("facts.part")
        return Report(
            end,
            job=self.job,
            row=self.row,
            gpus=self.probe.gpus,
            said_hello=self.said_hello,
            round_trip_s=self.round_trip_s,
            clock_off_s=self.clock_off_s,
            facts=read_facts(facts),
            log=" ".join(self._read("log").split())[-_TAIL:],
        )

    def _read(self, name: str) -> str:
        try:
            return (self.probe.folder / name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""

    def remove(self) -> str:
        """Take the job out of the queue; says what is left there in spite of that, empty for nothing."""
        if self.tried is None:
            return ""
        try:
            if not self.job:
                # The answer of sbatch was lost.
                rows = self.slurm.queue()
                self.job = next((row.array for row in rows if row.comment == comment(self.probe.token)), "")
            if not self.job:
                return "sbatch did not answer; should its job still appear, it ends by itself"
            self.slurm.cancel([self.job])
        except SlurmError as error:
            return f"job {self.job or comment(self.probe.token)}: {error}"
        return ""


@contextlib.contextmanager
def _stop_signals() -> Iterator[None]:
    """Let every signal that stops a command do what Ctrl-C does."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with _handling(stop, (signal.SIGTERM, signal.SIGHUP)):
        yield


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Let nothing stop the tidying up, which takes no longer than one call of SLURM."""
    with _handling(lambda number, frame: None, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)):
        yield


@contextlib.contextmanager
def _handling(handler: Callable[[int, FrameType | None], None], numbers: tuple[signal.Signals, ...]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)

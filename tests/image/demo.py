"""The demo's jobs, made small, as an ordinary user types them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from segbatch.errors import Exit
from segbatch.runs.attempts import read_attempts
from segbatch.runs.ledger import submissions
from segbatch.runs.run import Run, find_run
from tests.image.machine import TOP
from tests.image.report import FaultError
from tests.support.worlds import outputs

WITNESS = Path(__file__).parent / "witness"
LENT, SEEN = "/host-packages", "/witness"
"""Where a task sees the host's Python packages, and what notes what it sees; `witness` knows the first."""
PREDICT, TRAIN = "demo-predict", "demo-train"
PLAIN = "plain"
"""Folder of the runs without a container."""
TILES = 16
SMALL = {
    # Small batches, since few tiles wait behind a writer that is held: two stops find some that are left.
    PREDICT: ("predict.tasks=1", "predict.batch_size=1", "resources.memory=900M", "resources.cpus=1"),
    TRAIN: (
        *("train.epochs=1", "train.batch_size=4", "model.filters=4", "model.depth=2", "model.input=[64, 64]"),
        *("data.split.fractions={train: 0.5, val: 0.5}", "resources.memory=900M", "resources.cpus=1"),
    ),
}
"""What is changed of the demo's jobs, so that each takes seconds."""


@dataclass
class Demo:
    """A user's folder with the demo's world and jobs."""

    folder: Path
    lent: Path | None
    """The host's Python packages, for images that lack TensorFlow."""
    submitter: str = sys.executable
    """Python of the environment from which jobs in the image are submitted, resumed and looked at."""
    environ: dict[str, str] = field(default_factory=dict)
    """Further variables of all commands."""
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def set_up(self) -> None:
        """Paint the world, and take the demo's job files."""
        (self.folder / "jobs").mkdir(parents=True)
        for name in (TRAIN, PREDICT):
            shutil.copy(TOP / f"jobs/{name}.yaml", self.folder / "jobs")
        self.type("demo", "demo", "--scenes", "4", "--archive-scenes", "1", here=True)
        self.site()

    def site(self, **settings: Any) -> None:
        """Write the site file."""
        (self.folder / "site.yaml").write_text(yaml.safe_dump({"min_poll_seconds": 0.2, **settings}))

    def container(self, runtime: str, image: str) -> str:
        """Say, in a job, that its tasks run in an image."""
        binds = [f"{WITNESS}:{SEEN}:ro", *([f"{self.lent}:{LENT}:ro"] if self.lent else [])]
        return json.dumps({"runtime": runtime, "image": image, "binds": binds, "env": ["PYTHONPATH"]})

    def type(self, *words: str, code: int | None = 0, here: bool = False, **environ: str) -> str:
        """Run a command of segbatch and return what it prints.

        Args:
            words: the command.
            code: exit code that is expected.
            here: from this process's environment, which can run tasks itself.
            environ: further environment variables.

        Raises:
            FaultError: it ended with another exit code.
        """
        path = os.pathsep.join([str(TOP), SEEN])
        done = subprocess.run(
            [sys.executable if here else self.submitter, "-m", "segbatch", *words],
            cwd=self.folder,
            env={**os.environ, "COLUMNS": "160", "PYTHONPATH": path, **self.environ, **environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        if code is not None and done.returncode != code:
            raise FaultError(f"segbatch {' '.join(words)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def submit(self, job: str, runs: str, *words: str, container: str = "", code: int | None = 0, **more: str) -> str:
        """Submit one of the demo's jobs, made small.

        Args:
            job: its name.
            runs: folder of its runs.
            words: further words of the command.
            container: as `container` writes it; none where empty.
            code: exit code that is expected.
            more: further environment variables.
        """
        changes = [*SMALL[job], *([f"container={container}"] if container else [])]
        if job == PREDICT:
            changes.append(f"model={self.model}")
        options = [word for change in changes for word in ("--set", change)]
        try:
            return self.type(
                "submit", f"jobs/{job}.yaml", "--runs", runs, *options, *words, code=code, here=not container, **more
            )
        except FaultError as error:
            raise FaultError(f"{error}\n{self.logs(job, runs)}") from error

    def logs(self, job: str, runs: str) -> str:
        """The ends of the logs of a job's newest run."""
        found = sorted((self.folder / runs / job).glob("*/logs/*.log"))[-4:]
        return "\n".join(f"== {path.name}\n{path.read_text(errors='replace')[-1500:]}" for path in found)

    @property
    def model(self) -> Path:
        """The model that all predict jobs take: the first that was trained in the image.

        Raises:
            FaultError: there is none yet, nor will be soon.
        """
        folder = self.folder / "model"
        wait_for(folder.exists, "a model, trained in the image", 400)
        return folder

    def keep_model(self, runs: str) -> None:
        """Take the model of a train job for the predict jobs, if none is there yet."""
        with self._lock:
            kept = self.folder / "model"
            if not kept.exists():
                part = kept.with_suffix(".part")
                shutil.copytree(self.run(TRAIN, runs).paths.folder / "model", part)
                part.rename(kept)

    @property
    def plain(self) -> dict[str, bytes]:
        """Masks and CSVs of the predict job without a container, which runs when they are first asked for."""
        with self._lock:
            if not (self.folder / PLAIN).exists():
                self.submit(PREDICT, PLAIN, "--backend", "local", "--wait")
            return self.outputs(PLAIN)

    def run(self, job: str, runs: str) -> Run:
        """The newest run of a job."""
        return find_run(job, self.folder / runs)

    def outputs(self, runs: str) -> dict[str, bytes]:
        """Masks and CSVs of the newest predict run."""
        return outputs(self.run(PREDICT, runs))

    def seen(self, job: str, runs: str) -> list[dict[str, Any]]:
        """What the tasks of the newest run of a job noted, and `owner`: to whom the file belongs that they wrote."""
        folder = self.run(job, runs).paths.folder / "seen"
        return [json.loads(path.read_text()) | {"owner": path.stat().st_uid} for path in sorted(folder.glob("*.json"))]

    def begun(self, runs: str, attempt: int = 1) -> None:
        """Wait until an attempt of a predict run has journalled tiles."""

        def rows() -> int:
            journal = self.run(PREDICT, runs).paths.task(0).journal(attempt)
            return len(journal.read_bytes().splitlines()) if journal.exists() else 0

        try:
            wait_for(rows, "the first tiles")
        except FaultError as error:
            raise FaultError(f"{error}\n{self.logs(PREDICT, runs)}") from error

    def warn(self, runs: str) -> None:
        """Send USR1, as SLURM does before it stops a job, to what started the image of a predict run's task here.

        Raises:
            FaultError: there is no such process, or there are several.
        """
        runner = submissions(self.run(PREDICT, runs).paths)[-1].facts["pid"]
        started = [int(stat.parent.name) for stat in Path("/proc").glob("[0-9]*/stat") if _parent(stat) == runner]
        if len(started) != 1:
            raise FaultError(f"process {runner} runs one task, and has {len(started)} children")
        os.kill(started[0], signal.SIGUSR1)

    def go(self, runs: str) -> None:
        """Let slow tasks run at full speed."""
        (self.run(PREDICT, runs).paths.folder / "go").touch()


def _parent(stat: Path) -> int | None:
    """Number of a process's parent; None for one that ended meanwhile."""
    try:
        return int(stat.read_text(errors="replace").rpartition(")")[2].split()[1])
    except OSError:
        return None


def wait_for(condition: Callable[[], object], what: str, seconds: float = 240) -> None:
    """Wait until a condition holds.

    Raises:
        FaultError: it never did.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise FaultError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.05)


def refuse_privileges(facts: list[dict[str, Any]], least: int, *, renumbered: bool = False) -> None:
    """Check what tasks noted about themselves.

    Args:
        facts: from `Demo.seen`.
        least: how many tasks there were.
        renumbered: the user has number 0 inside, and no rights by it: runc gives ordinary users no other number.

    Raises:
        FaultError: one had more than it needs, or fewer than `least` noted anything.
    """
    if len(facts) < least:
        raise FaultError(f"{len(facts)} tasks noted what they see, expected {least} at least")
    for seen in facts:
        expected: dict[str, Any] = {"owner": os.getuid(), "user": os.getuid(), "capabilities": 0, "network": ["lo"]}
        expected |= {"refused": "Read-only file system"}
        if renumbered:
            expected["user"] = 0
        expected |= {"python": "/opt/venv/bin/python", "slurm": None}
        wrong = [f"{key} {seen[key]!r}, expected {expected[key]!r}" for key in expected if seen[key] != expected[key]]
        if wrong:
            raise FaultError(f"a task saw {'; '.join(wrong)}")


def told(demo: Demo, runs: str, signal: str, attempt: int = 1) -> None:
    """Check that a signal reached the worker, which stopped in order, in an attempt counted from 1.

    Raises:
        FaultError: it did not.
    """
    paths = demo.run(PREDICT, runs).paths
    said = demo.logs(PREDICT, runs)
    if f"{signal}: finishing the batch in hand" not in said:
        raise FaultError(f"{signal} did not reach the worker:\n{said}")
    if (read_attempts(paths.task(0))[attempt - 1].end or {}).get("code") != Exit.INTERRUPTED:
        raise FaultError(f"the worker did not stop in order:\n{said}")


def same(demo: Demo, runs: str) -> None:
    """Check that a predict run wrote the same masks and CSVs as without a container.

    Raises:
        FaultError: naming what differs.
    """
    found, expected = demo.outputs(runs), demo.plain
    differ = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
    if differ or len(expected) < TILES:
        raise FaultError(f"{len(differ)} of {len(expected)} files differ: {', '.join(differ[:5])}")

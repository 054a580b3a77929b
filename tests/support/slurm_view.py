"""What tests ask of a SLURM cluster, by the programs that users have."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tests.support.keeper import Keeper
from tests.support.slurm_config import Layout, Machines

SEARCHED = ("/usr/local/sbin", "/usr/sbin", "/sbin")
FOREIGN = re.compile(r"SLURM.*|(SBATCH|SALLOC|SRUN|SQUEUE|SACCT|SACCTMGR|SCANCEL|SINFO|SCONTROL|PMI|PMI2|PMIX)_.*")
NOISE = re.compile(
    r"mpi|MPI|PMIx|Unauthorized credential|Zero Bytes|differs from hardware|frequency setting|MCSParameters"
    r"|not recommended values|vestigial|cons_tres|\[Note\]|munged: Info"
)
"""Lines that SLURM's daemons write when all is well."""

T = TypeVar("T")


def search_path() -> str:
    """Return PATH with the folders of daemons, which a user's shell may leave out."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), *SEARCHED])


def located(program: str) -> str:
    """Return a program's path.

    Raises:
        FileNotFoundError: it is not installed.

    """
    if path := shutil.which(program, path=search_path()):
        return path
    raise FileNotFoundError(f"{program} is not installed")


def slurm_version() -> tuple[int, int]:
    """Return the installed SLURM's version, for example (22, 5)."""
    said = subprocess.run([located("slurmd"), "-V"], capture_output=True, text=True, check=True, timeout=30).stdout
    major, minor = said.split()[1].split(".")[:2]
    return int(major), int(minor)


class SlurmView:
    """Questions to a cluster that runs, and the wait for the answer that is hoped for."""

    machines: Machines
    layout: Layout
    _keeper: Keeper
    _before: set[str]

    @property
    def nodes(self) -> list[str]:
        """The nodes' names."""
        return self.machines.names

    @property
    def environ(self) -> dict[str, str]:
        """An environment in which SLURM's programs speak with this cluster, free of any other's variables."""
        kept = {name: value for name, value in os.environ.items() if not FOREIGN.fullmatch(name)}
        return {**kept, "PATH": search_path(), "SLURM_CONF": str(self.layout.conf)}

    def run(self, *argv: str | Path, timeout: float = 30, check: bool = True) -> str:
        """Run a program in the cluster's environment and return what it printed.

        Raises:
            AssertionError: it failed, and `check` was not turned off.

        """
        outcome = subprocess.run(
            [str(part) for part in argv],
            env=self.environ,
            cwd=self.layout.root,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        said = f"{argv} ended with {outcome.returncode}: {outcome.stderr}{outcome.stdout}"
        assert outcome.returncode == 0 or not check, said
        return outcome.stdout

    def submit(self, script: str, *options: str, folder: Path | None = None) -> str:
        """Give a script to sbatch and return the job's id. It runs in `folder`; without one its output is lost."""
        path = Path(tempfile.mkdtemp(dir=self.layout.root)) / "script"
        path.write_text(script)
        place = ["--chdir", str(folder)] if folder else ["--output", "/dev/null", "--chdir", "/tmp"]
        return self.run("sbatch", "--parsable", *place, *options, path).strip()

    def jobs(self) -> dict[str, str]:
        """Return each job's state, of those since the last reset, by "123" or in arrays "123_4"."""
        return {job: state for job, state in self._all_jobs().items() if job not in self._before}

    def job_state(self, job: str) -> str:
        """Return a job's state; of an array the states of its tasks, sorted, joined by commas; empty when unknown."""
        found = self._all_jobs().items()
        return ",".join(sorted({state for name, state in found if name == job or name.startswith(f"{job}_")}))

    def job_facts(self, job: str) -> dict[str, str]:
        """Return what `scontrol show job` says of one job or task, by name; empty when the controller forgot it."""
        said = self.run("scontrol", "--oneliner", "show", "job", job, check=False)
        return dict(part.split("=", 1) for part in said.split() if "=" in part)

    def node_states(self) -> dict[str, str]:
        """Return every node's state as sinfo has it: idle, mixed, down*, drained, ..."""
        rows = self.run("sinfo", "--noheader", "--Node", "--partition=main", "--format=%N %T").splitlines()
        return dict(_pair(row) for row in rows)

    def wait_for(self, condition: Callable[[], T], timeout: float = 30, what: str = "the condition holds") -> T:
        """Return the condition's value as soon as it is true in Python's sense.

        Raises:
            AssertionError: it never was; the message says what the cluster was doing.

        """
        end = time.monotonic() + timeout
        while not (value := condition()):
            assert time.monotonic() < end, f"not within {timeout} s: {what}\n{self.logs()}"
            time.sleep(0.05)
        return value

    def wait_for_state(self, job: str, *states: str, timeout: float = 30) -> str:
        """Wait until a job (or all of an array) is in one of the states, and return it."""

        def reached() -> str:
            state = self.job_state(job)
            return state if state in states else ""

        return self.wait_for(reached, timeout, f"{job} is {' or '.join(states)}")

    def logs(self, lines: int = 30) -> str:
        """Return what the cluster is doing and the ends of its logs; a failure to find out is part of the text."""
        parts = []
        try:
            alive = self._keeper.alive()
            parts.append(f"daemons alive: {', '.join(alive)}")
            for argv in (["squeue", "--array", "--states=all"], ["sinfo", "--Node", "--long"]):
                if "slurmctld" in alive:
                    parts.append(f"$ {' '.join(argv)}\n{self.run(*argv, check=False)}")
        except (OSError, RuntimeError, subprocess.TimeoutExpired) as error:
            parts.append(str(error))
        for path in sorted(self.layout.logs.glob("*")):
            if path.suffix == ".out" and path.with_suffix(".log").exists():
                continue  # The same lines twice.
            told = [line for line in path.read_text(errors="replace").splitlines() if not NOISE.search(line)]
            if told:
                parts.append("\n".join([f"== {path.name}", *told[-lines:]]))
        return "\n".join(parts)

    def _succeeds(self, *argv: str) -> bool:
        with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
            self.run(*argv)
            return True
        return False

    def _all_jobs(self) -> dict[str, str]:
        rows = self.run("squeue", "--noheader", "--array", "--states=all", "--format=%i %T").splitlines()
        return dict(_pair(row) for row in rows)

    def _all_idle(self) -> bool:
        with contextlib.suppress(AssertionError):
            return set(self.node_states().values()) == {"idle"}
        return False

    def _all_known(self) -> bool:
        alive = self._keeper.alive()
        with contextlib.suppress(AssertionError):
            states = self.node_states().items()
            return not any(state.startswith("unk") for node, state in states if f"slurmd.{node}" in alive)
        return False


def _pair(row: str) -> tuple[str, str]:
    name, value = row.split()
    return name, value

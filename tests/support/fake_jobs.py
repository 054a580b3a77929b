"""The jobs of the fake SLURM."""

from __future__ import annotations

import re
import shlex
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

ENDED = (
    "COMPLETED",
    "FAILED",
    "CANCELLED",
    "TIMEOUT",
    "NODE_FAIL",
    "PREEMPTED",
    "OUT_OF_MEMORY",
    "BOOT_FAIL",
    "DEADLINE",
)


@dataclass
class FakeTask:
    """One task; outside arrays its index is None."""

    array: str
    index: int | None
    raw: str
    comment: str = ""
    dependency: str = ""
    state: str = "PENDING"
    """Any word, also one that no SLURM knows."""
    reason: str = "None"
    node: str = ""
    status: int = 0
    """Raw wait status: exit code << 8 | signal."""
    restarts: int = 0
    submitted: float = field(default_factory=time.time)
    started: float | None = None
    ended: float | None = None
    listed: bool = True
    """squeue forgets tasks that were cancelled out of a waiting remainder."""
    past: list[FakeTask] = field(default_factory=list)
    """Earlier incarnations, oldest first."""

    @property
    def name(self) -> str:
        """By which it takes orders."""
        return self.array if self.index is None else f"{self.array}_{self.index}"

    def again(self, why: str) -> None:
        """Back into the queue; what was becomes a past incarnation of state `why`."""
        now = time.time()
        self.past.append(replace(self, state=why, ended=now, past=[]))
        self.state, self.reason, self.node, self.status = "PENDING", "BeginTime", "", 0
        self.restarts, self.submitted, self.started, self.ended = self.restarts + 1, now, None, None


class FakeJob:
    """What one sbatch queued: an array, or a job with one task."""

    def __init__(self, number: str, script: Path, cwd: Path, options: dict[str, str], indexes: Sequence[int]) -> None:
        self.id = number
        self.script = script
        self.text = script.read_text()
        self.cwd = cwd
        self.options = options
        """The script's #SBATCH options by long name, without dashes."""
        reason = "JobHeldUser" if "hold" in options else "Dependency" if "dependency" in options else "None"
        self.tasks: dict[int | None, FakeTask] = {
            index: FakeTask(
                number,
                index,
                number,
                comment=options.get("comment", ""),
                dependency=options.get("dependency", ""),
                reason=reason,
            )
            for index in (indexes or [None])
        }

    @property
    def comment(self) -> str:
        """As given to sbatch."""
        return self.options.get("comment", "")

    def live(self) -> list[FakeTask]:
        """Tasks that have not come to an end."""
        return [task for task in self.tasks.values() if task.state not in ENDED]

    def waiting(self) -> list[FakeTask]:
        """Tasks that wait."""
        return [task for task in self.tasks.values() if task.state == "PENDING"]

    def chosen(self, indexes: Sequence[int]) -> list[FakeTask]:
        """Tasks of these indexes; all for none."""
        return [task for task in self.tasks.values() if not indexes or task.index in indexes]

    def cancel(self, indexes: Sequence[int | None], *, whole: bool = False) -> None:
        """Cancel tasks.

        Args:
            indexes: which.
            whole: the job was named by its id alone. Else squeue forgets the waiting ones among them.
        """
        for index in indexes:
            task = self.tasks.get(index)
            if task is None or task.state in ENDED:
                continue
            if index is not None and task.state == "PENDING" and task.raw == self.id:
                task.listed = whole
            task.status = 15 if task.started else 0
            task.state, task.ended = "CANCELLED", time.time()

    @property
    def remainder_cancelled(self) -> bool:
        """squeue shows one row with no index once nothing is left of a remainder that was cancelled in parts."""
        lost = any(task.state == "CANCELLED" and not task.listed for task in self.tasks.values())
        return lost and not any(task.raw == self.id and task.listed for task in self.tasks.values())

    def execute(self, task: FakeTask, environ: dict[str, str]) -> int:
        """Run the script as slurmd would, its output appended to the file that it names."""
        index = 4294967294 if task.index is None else task.index
        names = {"%A": self.id, "%a": str(index), "%j": task.raw, "%%": "%"}
        pattern = self.options.get("output", f"slurm-{'%A_%a' if task.index is not None else '%j'}.out")
        output = self.cwd / re.sub("%[Aaj%]", lambda match: names[match[0]], pattern)
        inside = {
            "SLURM_JOB_ID": task.raw,
            "SLURMD_NODENAME": task.node,
            "SLURM_JOB_NODELIST": task.node,
            **({"SLURM_RESTART_COUNT": str(task.restarts)} if task.restarts else {}),
            **({"SLURM_ARRAY_JOB_ID": self.id, "SLURM_ARRAY_TASK_ID": str(index)} if task.index is not None else {}),
        }
        copy = self.cwd / f".slurm_script-{task.raw}"
        copy.write_text(self.text)  # SLURM runs what it was given, whatever became of the file.
        try:
            with output.open("ab") as log:
                done = subprocess.run(
                    ["bash", str(copy)], cwd=self.cwd, env={**environ, **inside}, stdout=log, stderr=log, timeout=300
                )
        finally:
            copy.unlink()
        return done.returncode


_SHORT = {"a": "array", "o": "output", "J": "job-name", "d": "dependency", "H": "hold", "p": "partition", "t": "time"}


def script_options(script: Path) -> dict[str, str]:
    """Read the #SBATCH lines of a script."""
    options: dict[str, str] = {}
    for line in script.read_text().splitlines():
        if line.startswith("#SBATCH"):
            words = shlex.split(line.removeprefix("#SBATCH"), comments=True)
            for position, word in enumerate(words):
                if word.startswith("--"):
                    name, equals, value = word[2:].partition("=")
                elif word.startswith("-"):
                    name, equals, value = _SHORT.get(word[1], word[1]), word[2:], word[2:]
                else:
                    continue
                following = words[position + 1 : position + 2]
                options[name] = value if equals else following[0] if following and following[0][0] != "-" else ""
    return options


def numbers(text: str) -> list[int]:
    """Expand `0-5%2,8`, with or without brackets; nothing for an empty text."""
    found: list[int] = []
    for part in re.sub(r"%\d+|[\[\]]", "", text).split(","):
        if part:
            first, _, last = part.partition("-")
            found += range(int(first), int(last.partition(":")[0] or first) + 1, int(last.partition(":")[2] or 1))
    return found

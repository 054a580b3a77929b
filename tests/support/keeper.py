"""Keeps a group of daemons: whatever they start, however it hides, dies with the group.

The keeper is a small process between the tests and the daemons. It adopts every orphan below it, so a process that
left its session, its parent and its environment is still found; and when the tests end, or are killed, it kills
everything below itself and removes the group's folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

PR_SET_CHILD_SUBREAPER = 36


class Keeper:
    """The tests' end: starts, signals and counts daemons by name."""

    def __init__(self, folder: Path) -> None:
        """Start the process that owns `folder`, which goes when it goes."""
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for the tests, which then close the keeper in order.
        )

    def start(self, name: str, argv: Sequence[str], environ: Mapping[str, str], log: Path) -> None:
        """Start a daemon under a name that is not in use; what it prints is appended to `log`."""
        self._ask("start", name=name, argv=list(argv), environ=dict(environ), log=str(log))

    def stop(self, name: str, number: int = signal.SIGTERM, patience_s: float = 20) -> None:
        """Signal a daemon and wait until it is gone. One that is gone already is left alone.

        Raises:
            RuntimeError: it outlived `patience_s`.

        """
        if not self._ask("stop", name=name, number=int(number), patience_s=patience_s):
            raise RuntimeError(f"{name} did not end within {patience_s} s of signal {number}")

    def alive(self) -> list[str]:
        """Return the names of the daemons that run."""
        return list(self._ask("alive"))

    def kill_strays(self, holding: Path | None = None, *, parents: bool = True) -> int:
        """Kill the processes that daemons left behind, and all below them, and return how many.

        With `holding`, only those strays that have that file open. Without `parents`, only what is below them.
        """
        return int(self._ask("strays", holding=str(holding or ""), parents=parents))

    def close(self) -> None:
        """Kill everything, remove the folder."""
        if self._process.poll() is None and self._process.stdin:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
            self._process.wait(60)
        if self._process.stdout:
            self._process.stdout.close()

    def _ask(self, what: str, **values: Any) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps({"what": what, **values}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the keeper of the daemons is gone (exit code {self._process.poll()})")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["value"]


class _Group:
    """The keeper's end: the daemons by name, and everybody below."""

    def __init__(self) -> None:
        self.daemons: dict[str, int] = {}

    def start(self, name: str, argv: list[str], environ: dict[str, str], log: str) -> int:
        if name in self.daemons:
            raise RuntimeError(f"{name} is running already")
        pid = os.posix_spawn(
            argv[0],
            argv,
            environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],  # Python ignores them, and jobs would inherit that.
        )
        self.daemons[name] = pid
        return pid

    def stop(self, name: str, number: int, patience_s: float) -> bool:
        if name in self.daemons:
            _signal([self.daemons[name]], number)
        return _await(lambda: name not in self.reap(), patience_s)

    def alive(self) -> list[str]:
        return sorted(self.reap())

    def strays(self, holding: str, parents: bool) -> int:
        self.reap()
        below = _children()
        roots = [pid for pid in below.get(os.getpid(), []) if pid not in self.daemons.values()]
        roots = [pid for pid in roots if not holding or _holds(pid, holding)]
        found = [pid for root in roots for pid in _tree(root, below) if parents or pid != root]
        _signal(found, signal.SIGKILL)
        _await(lambda: not _exist(found), 5, self.reap)
        return len(found)

    def reap(self) -> dict[str, int]:
        """Bury the dead, and return the daemons that live."""
        with contextlib.suppress(ChildProcessError):
            while (dead := os.waitpid(-1, os.WNOHANG)[0]) != 0:
                self.daemons = {name: pid for name, pid in self.daemons.items() if pid != dead}
        return self.daemons

    def end(self) -> None:
        """Kill until nobody is left; a process may start another while it is looked for."""
        _await(self._nobody, 30)

    def _nobody(self) -> bool:
        _signal(_tree(os.getpid(), _children())[1:], signal.SIGKILL)
        self.reap()
        return os.getpid() not in _children()


def _signal(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _exist(pids: Iterable[int]) -> bool:
    return any(Path(f"/proc/{pid}").exists() for pid in pids)


def _await(condition: Callable[[], bool], patience_s: float, meanwhile: Callable[[], object] = lambda: None) -> bool:
    end = time.monotonic() + patience_s
    while not condition():
        meanwhile()
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


def _children() -> dict[int, list[int]]:
    below: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                # The name in parentheses may hold anything; the state and the parent follow it.
                parent = int(Path(f"/proc/{entry}/stat").read_text(errors="replace").rpartition(")")[2].split()[1])
                below.setdefault(parent, []).append(int(entry))
    return below


def _tree(root: int, below: dict[int, list[int]]) -> list[int]:
    return [root, *(pid for child in below.get(root, []) for pid in _tree(child, below))]


def _holds(pid: int, file: str) -> bool:
    with contextlib.suppress(OSError):
        return any(link.is_symlink() and str(link.readlink()) == file for link in Path(f"/proc/{pid}/fd").iterdir())
    return False


def _adopt_orphans() -> None:
    import ctypes

    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER) failed")


def _answer(group: _Group, question: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"value": getattr(group, question.pop("what"))(**question)}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


def _serve(folder: str) -> None:
    """Answer one question a line until the tests close the pipe or die."""
    os.chdir(folder)
    _adopt_orphans()
    group = _Group()
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    pending = b""
    try:
        while True:
            ready, _, _ = select.select([0, wake], [], [])
            if wake in ready:
                os.read(wake, 4096)
                group.reap()
            if 0 not in ready:
                continue
            if not (received := os.read(0, 65536)):
                return
            *lines, pending = (pending + received).split(b"\n")
            for line in lines:
                print(json.dumps(_answer(group, json.loads(line))), flush=True)
    finally:
        group.end()
        os.chdir("/")
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    _serve(sys.argv[1])

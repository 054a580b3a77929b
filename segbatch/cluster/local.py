"""Tasks as processes of this machine."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from segbatch.errors import Exit, SegbatchError
from segbatch.runs import ledger
from segbatch.runs.attempts import read_attempts
from segbatch.runs.layout import FINISH
from segbatch.runs.outputs import unfinished
from segbatch.runs.process import process_identity
from segbatch.runs.run import Run, open_run
from segbatch.runs.status import runner_alive, task_status

TICK_S = 0.5
WORST_FIRST = (Exit.FAILED, Exit.BAD_INPUT, Exit.TOO_MANY_REJECTED, Exit.INTERRUPTED)
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def worker_command(run: Run, task: int | str) -> list[str]:
    """Command line of one task."""
    which = ["--finish"] if task == FINISH else ["--task", str(task)]
    # -P: a file in the user's folder must not stand in for a module of that name.
    return [sys.executable, "-P", "-m", "segbatch.worker", str(run.paths.folder), *which]


@dataclass
class LocalRunner:
    """Runs a run's tasks as processes, at most `parallel` at once, then its finishing task.

    A first stop signal lets every task finish its batch; a second one kills them.
    """

    run: Run
    parallel: int
    on_tick: Callable[[], object] = lambda: None
    force: bool = False
    """Start although a process on another machine, which cannot be asked, may still be at it."""
    _stops: int = 0
    _children: set[subprocess.Popen[bytes]] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def execute(self) -> int:
        """Run all tasks that are not done and return the run's exit code; the ledger tells start and end."""
        refuse_busy(self.run, force=self.force)
        token = secrets.token_hex(8)
        code = int(Exit.FAILED)
        with self._stop_signals():
            ledger.record(self.run.paths, token, "submitted", backend="local", **process_identity(os.getpid()))
            try:
                code = self._execute()
            finally:
                stopped = {"cancelled": True} if code == Exit.INTERRUPTED else {}
                ledger.record(self.run.paths, token, "ended", code=code, **stopped)
        return code

    def _execute(self) -> int:
        codes = self._run_all(self._to_do())
        if self._stops and int(Exit.INTERRUPTED) in codes:
            return int(Exit.INTERRUPTED)
        if self._stops and self._to_do():
            return int(Exit.INTERRUPTED)
        finish = self._run_task(FINISH)
        return next((int(code) for code in WORST_FIRST if code in codes), finish)

    def _to_do(self) -> list[int]:
        """Return the tasks that never ended well, or did and have since lost something (or were refused tiles)."""
        tasks = self.run.current_tasks
        ended = {task for task in tasks if task_status(self.run, task).state == "done"}
        again = set(unfinished(self.run, ended))
        return [task for task in tasks if task not in ended or task in again]

    def _run_all(self, tasks: list[int]) -> list[int]:
        pending = iter(tasks)
        codes: list[int] = []
        running: set[Future[int]] = set()
        with ThreadPoolExecutor(self.parallel, thread_name_prefix="task") as pool:
            while True:
                while len(running) < self.parallel and not self._stops:
                    task = next(pending, None)
                    if task is None:
                        break
                    running.add(pool.submit(self._run_task, task))
                if not running:
                    return codes
                finished, running = wait(running, timeout=TICK_S, return_when=FIRST_COMPLETED)
                codes += [future.result() for future in finished]
                # The display is not worth the run: its terminal may be gone.
                with suppress(OSError):
                    self.on_tick()

    def _run_task(self, task: int | str) -> int:
        """Start one task in a session of its own, so that only this runner signals it, and wait for its end."""
        log = self.run.paths.log(task)
        with log.open("ab") as output:
            child = subprocess.Popen(
                worker_command(self.run, task),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            with self._lock:
                self._children.add(child)
                if self._stops:
                    child.terminate()
            try:
                code = child.wait()
            finally:
                with self._lock:
                    self._children.discard(child)
        return code if code >= 0 else int(Exit.FAILED)

    @contextmanager
    def _stop_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._stop) for number in STOP_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """Pass a first signal on; only an impatient Ctrl-C kills, since `cancel` may well be asked twice."""
        self._stops += 1
        # The handler may interrupt this very thread inside a locked block, so it takes no lock.
        for child in list(self._children):
            child.send_signal(signal.SIGKILL if self._stops > 1 and number == signal.SIGINT else signal.SIGTERM)


@dataclass(frozen=True)
class LocalScheduler:
    """Starts runs on this machine, in the background."""

    parallel: int = 1
    force: bool = False
    name: str = "local"

    def submit(self, run: Run) -> None:
        """Start a runner that outlives this process and its terminal, and wait until its ledger line is there."""
        refuse_running(run, force=self.force)
        command = [sys.executable, "-P", "-m", "segbatch.cluster.local", str(run.paths.folder), str(self.parallel)]
        command += ["--force"] if self.force else []
        before = len(ledger.submissions(run.paths))
        with run.paths.log("runner").open("ab") as output:
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        while len(ledger.submissions(run.paths)) == before:
            try:
                child.wait(timeout=0.05)
            except subprocess.TimeoutExpired:
                continue
            if len(ledger.submissions(run.paths)) == before:
                tail = run.paths.log("runner").read_text(errors="replace").strip().splitlines()[-1:]
                raise SegbatchError(f"{run.label}: its tasks could not be started: {' '.join(tail)}")

    def cancel(self, run: Run, *, now: bool = False) -> bool:
        """Ask the runner, or tasks that outlived it, to stop; `now` kills the tasks."""
        running = runner_alive(run)
        if running is None:
            raise SegbatchError(f"{run.label} was started on {_host(run)}: cancel it there.")
        found = running and _signal(int(ledger.submissions(run.paths)[-1].facts["pid"]), signal.SIGTERM)
        if now or not running:
            found |= self._signal_tasks(run, signal.SIGKILL if now else signal.SIGTERM)
        return found

    def _signal_tasks(self, run: Run, number: signal.Signals) -> bool:
        found = False
        for task in (*run.tasks, FINISH):
            if task_status(run, task).state == "running":
                found |= _signal(int(read_attempts(run.paths.task(task))[-1].start["pid"]), number)
        return found


def refuse_running(run: Run, *, force: bool = False) -> None:
    """Refuse to start a run that is at work, or may be on another machine.

    Raises:
        SegbatchError: it is.
    """
    running = runner_alive(run)
    if running:
        raise SegbatchError(f"{run.label} runs already. Watch it with: segbatch status {run.paths.folder}")
    if running is None and not force:
        raise SegbatchError(
            f"{run.label} was started on {_host(run)}, which cannot be asked from here whether it still runs. "
            "Resume it there, or, if you know that it is gone, add --force."
        )


def refuse_busy(run: Run, *, force: bool = False) -> None:
    """Refuse a run that is at work, or of which a task outlived its runner.

    Raises:
        SegbatchError: it is.
    """
    refuse_running(run, force=force)
    names: list[int | str] = [*run.tasks, FINISH]
    busy = [task for task in names if task_status(run, task).state == "running"]
    if busy:
        raise SegbatchError(
            f"{run.label}: task {busy[0]} of an earlier start still runs. "
            f"Stop it with: segbatch cancel {run.paths.folder}   or wait for it."
        )


def _host(run: Run) -> str:
    return str(ledger.submissions(run.paths)[-1].facts.get("host", "another machine"))


def _signal(pid: int, number: signal.Signals) -> bool:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        raise SegbatchError(f"process {pid} belongs to another user, who alone can cancel it.") from None
    return True


def main(arguments: list[str]) -> int:
    """Entry of the background runner: run folder and number of tasks at once."""
    folder, parallel, *rest = arguments
    try:
        return LocalRunner(open_run(Path(folder)), int(parallel), force=rest == ["--force"]).execute()
    except SegbatchError as error:
        print(error, file=sys.stderr, flush=True)
        return int(error.exit_code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

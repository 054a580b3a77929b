"""Tasks as processes of this machine."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from segbatch.cluster.containers.inside import Inside, inside_of_run
from segbatch.cluster.notify.tell import tell_and_log
from segbatch.errors import Exit, InputError, SegbatchError
from segbatch.runs import ledger
from segbatch.runs.attempts import read_attempts
from segbatch.runs.layout import FINISH
from segbatch.runs.outputs import unfinished
from segbatch.runs.process import process_identity
from segbatch.runs.run import Run, open_run
from segbatch.runs.staging import VARIABLE as SCRATCH
from segbatch.runs.status import runner_alive, task_status
from segbatch.spec.site import Site

TICK_S = 0.5
WORST_FIRST = (Exit.FAILED, Exit.BAD_INPUT, Exit.TOO_MANY_REJECTED, Exit.INTERRUPTED)
_SITE = "--site="
"""Option of the background runner: what of the site it needs, as JSON."""
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def worker_command(run: Run, task: int | str, inside: Inside | None) -> list[str]:
    """Command line of one task, in a container or outside.

    Raises:
        InputError: the runtime is part of SLURM, or cannot be told a path.
    """
    finish = task == FINISH
    which = ["--finish"] if finish else ["--task", str(task)]
    # -P: a file in the user's folder must not stand in for a module of that name.
    argv = [sys.executable, "-P", "-m", "segbatch.worker"]
    if inside is not None:
        if inside.runtime.part_of_slurm:
            raise InputError(f"container.runtime: {inside.runtime.name} is part of SLURM and cannot run here.")
        argv = list(inside.launch(run.paths.folder, finish=finish).argv)
    return [*argv, str(run.paths.folder), *which]


def site_of(run: Run) -> Site:
    """Return the site as it was when the run was submitted."""
    return Site.model_validate(run.record.site)


def at_once(run: Run, parallel: int | None, site: Site) -> int:
    """Tasks at once: as asked, as the site says, or as many as have processors of their own; on GPUs one by one."""
    resources = run.job.resources
    room = 1 if resources.gpus else (os.cpu_count() or 1) // resources.cpus
    return parallel or site.parallel or max(room, 1)


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
    site: Site | None = None
    """Says what container tasks run in, where the job does not; by default the site that the run was submitted to."""
    _inside: Inside | None = None
    _stops: int = 0
    _children: set[subprocess.Popen[bytes]] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def execute(self) -> int:
        """Run all tasks that are not done and return the run's exit code; the ledger tells start and end."""
        refuse_busy(self.run, force=self.force)
        self._inside = inside_of_run(self.run, self.site or site_of(self.run))
        token = secrets.token_hex(8)
        code = int(Exit.FAILED)
        with self._stop_signals():
            ledger.record(self.run.paths, token, "submitted", backend="local", **process_identity(os.getpid()))
            try:
                code = self._execute()
            finally:
                stopped = {"cancelled": True} if code == Exit.INTERRUPTED else {}
                ledger.record(self.run.paths, token, "ended", code=code, **stopped)
        tell_and_log(self.run)
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
        with log.open("ab") as output, self._environment() as environment:
            child = subprocess.Popen(
                worker_command(self.run, task, self._inside),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=environment,
            )
            with self._lock:
                self._children.add(child)
                # Where only the finishing task is left it is let go on: it does not know of signals yet.
                if self._stops and task != FINISH:
                    child.terminate()
            try:
                code = child.wait()
            finally:
                with self._lock:
                    self._children.discard(child)
        if code < 0 and self._inside is not None:
            # The program that started the container was killed; the task itself may not have been its child.
            kill_task(self.run, task)
        return code if code >= 0 else int(Exit.FAILED)

    @contextmanager
    def _environment(self) -> Iterator[dict[str, str]]:
        """Variables of a task; one in a container must be shown the folder to which it shall copy its tiles."""
        if self._inside is None or not self.run.job.resources.scratch or SCRATCH in os.environ:
            yield dict(os.environ)
            return
        with tempfile.TemporaryDirectory(prefix="segbatch.", ignore_cleanup_errors=True) as folder:
            yield {**os.environ, SCRATCH: folder}

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
    site: Site | None = None
    """Says what container tasks run in; see `LocalRunner`."""
    name: str = "local"

    def submit(self, run: Run) -> None:
        """Start a runner that outlives this process and its terminal, and wait until its ledger line is there."""
        refuse_running(run, force=self.force)
        command = [sys.executable, "-P", "-m", "segbatch.cluster.local", str(run.paths.folder), str(self.parallel)]
        command += ["--force"] if self.force else []
        if self.site is not None:
            command.append(_SITE + self.site.model_dump_json(include={"container"}, exclude_unset=True))
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
            found |= _signal_task(run, task, number)
        return found


def kill_task(run: Run, task: int | str) -> bool:
    """Kill the process of a task on this machine, if it runs."""
    return _signal_task(run, task, signal.SIGKILL)


def _signal_task(run: Run, task: int | str, number: signal.Signals) -> bool:
    if task_status(run, task).state != "running":
        return False
    return _signal(int(read_attempts(run.paths.task(task))[-1].start["pid"]), number)


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
    said = next((word.removeprefix(_SITE) for word in rest if word.startswith(_SITE)), None)
    site = Site.model_validate_json(said) if said is not None else None
    try:
        return LocalRunner(open_run(Path(folder)), int(parallel), force="--force" in rest, site=site).execute()
    except SegbatchError as error:
        print(error, file=sys.stderr, flush=True)
        return int(error.exit_code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

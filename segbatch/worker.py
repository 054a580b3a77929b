"""What a task runs: `python -m segbatch.worker RUN --task N`, and `--finish` after all tasks."""

from __future__ import annotations

import errno
import os
import platform
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType

import click

from segbatch.runs.allocator import begin_with_huge_pages

if __name__ == "__main__":
    # Before anything that takes time to import, since that would be imported twice.
    begin_with_huge_pages()

from segbatch.errors import Exit, SegbatchError
from segbatch.runs.attempts import begin_attempt, end_attempt
from segbatch.runs.layout import FINISH
from segbatch.runs.run import Run, open_run
from segbatch.training.peers import Peers, peers_from

STORAGE_ERRORS = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO, errno.ESTALE))
"""What storage says that is full, may not be written, or is gone."""
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)


class StopFlag:
    """Remembers that a signal asked the task to stop; the task looks at it between batches."""

    def __init__(self) -> None:
        self._signal: int | None = None

    def __call__(self) -> bool:
        """Tell whether to stop."""
        return self._signal is not None

    def listen(self) -> None:
        """Take over the stop signals of this process."""
        for number in STOP_SIGNALS:
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._signal = number
        # os.write, since print may be what the signal interrupted; the log's disk may be full.
        with suppress(OSError):
            os.write(2, f"{signal.Signals(number).name}: finishing the batch in hand, then stopping\n".encode())


def log(line: str) -> None:
    """Write one line of the task's log, with the time; a log that cannot be written stops nothing."""
    with suppress(OSError):
        print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


def _quiet(run: Run) -> None:
    """Keep TensorFlow's chatter about absent GPUs out of the logs of tasks that asked for none."""
    if not run.job.resources.gpus:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def _body(run: Run, task: int | None, attempt: int, peers: Peers | None, stop: StopFlag) -> Callable[[], int]:
    """Pick what to run; imports are here so that each task loads only what its kind needs."""
    if task is None and run.record.kind == "gate":
        from segbatch.evaluation.gate_task import gate_task

        return lambda: gate_task(run, log)
    if task is None:
        from segbatch.evaluation.finish import finish

        return lambda: finish(run, log)
    if run.record.kind == "train":
        from segbatch.training.task import train_task

        return lambda: train_task(run, task, peers, stop, log)
    if run.record.pilot:
        from segbatch.inference.pilot import pilot_task

        return lambda: pilot_task(run, task, attempt, stop, log)
    if run.record.kind == "predict":
        from segbatch.inference.imports import without

        with without():
            from segbatch.inference.task import predict_task

        return lambda: predict_task(run, task, attempt, stop, log)
    from segbatch.evaluation.task import evaluate_task

    return lambda: evaluate_task(run, task, attempt, stop, log)


def run_task(folder: Path, task: int | None) -> int:
    """Run one task of a run (None: the finishing one) and return its exit code.

    Every start and end goes to the task's attempts, failures with their message.
    """
    stop = StopFlag()
    stop.listen()
    run = open_run(folder)
    name = FINISH if task is None else task
    paths = run.paths.task(name)
    peers = peers_from(os.environ) if run.record.kind == "train" and task is not None else None
    if peers is not None and not peers.chief:
        return _help(run, task, peers, stop)
    attempt = begin_attempt(paths)
    log(f"--- {run.label}, task {name}, attempt {attempt}, on {platform.node()}, process {os.getpid()}")
    code, message = _outcome(run, lambda: _body(run, task, attempt, peers, stop)())
    try:
        end_attempt(paths, attempt, code, message)
    except OSError as error:
        log(f"--- the end of attempt {attempt} could not be noted: {_storage(error)}")
    log(f"--- exit {code}{': ' + message if message else ''}")
    return code


def _help(run: Run, task: int | None, peers: Peers, stop: StopFlag) -> int:
    """Do one node's part of a task whose attempts the first node's process writes down.

    A stop that was asked for is no failure here: the first process tells of it, and must not be killed for this one.
    """
    code, message = _outcome(run, lambda: _body(run, task, 0, peers, stop)())
    if message:
        log(f"--- node {peers.rank + 1}: exit {code}: {message}")
    return int(Exit.OK) if code == Exit.INTERRUPTED else code


def _outcome(run: Run, body: Callable[[], int]) -> tuple[int, str]:
    """Run the body of a task; its exit code, and what went wrong."""
    try:
        _quiet(run)
        return body(), ""
    except SegbatchError as error:
        return int(error.exit_code), str(error)
    except ImportError as error:
        return int(Exit.FAILED), f"{error}: tasks need `pip install 'segbatch[worker]'` where they run"
    except MemoryError:
        return int(Exit.FAILED), "out of memory: ask for more `resources.memory`, or a smaller batch"
    except OSError as error:
        if error.errno not in STORAGE_ERRORS:
            traceback.print_exc()
        return int(Exit.FAILED), _storage(error)
    except Exception as error:
        traceback.print_exc()
        return int(Exit.FAILED), f"{type(error).__name__}: {error}"


def _storage(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}. What is written is safe; mend this, then resume the run."


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--task", type=int, help="Number of the task.")
@click.option("--finish", is_flag=True, help="Merge all tasks and write the report.")
def main(run: Path, task: int | None, finish: bool) -> None:
    """Run one task of RUN; a scheduler calls this."""
    if (task is None) != finish:
        raise click.UsageError("expected either --task N or --finish")
    try:
        code = run_task(run, task)
    except SegbatchError as error:
        click.echo(str(error), err=True)
        code = int(error.exit_code)
    except OSError as error:
        click.echo(_storage(error), err=True)
        code = int(Exit.FAILED)
    with suppress(OSError):
        sys.stdout.flush()
    # TensorFlow's threads may hang or crash while Python takes the interpreter down; all files are closed by now.
    os._exit(code)


if __name__ == "__main__":
    main()

"""Tasks as forks of a process that has imported TensorFlow: a start takes a second, and can be made to go wrong.

`python -m tests.support.zygote` is the process; `Zygote` the tests' end of it. TensorFlow starts no thread that a fork
would lose before it computes something, which only the forks do.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

MOMENTS = ("before rename", "after rename", "within a row", "after a row", "at a time")


class Zygote:
    """Starts tasks of runs."""

    def __init__(self, log: Path) -> None:
        self.log = log
        repo = Path(__file__).parent.parent.parent
        environ = os.environ | {"PYTHONPATH": str(repo), "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.zygote", str(log)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environ,
        )

    def start(self, folder: Path, task: int | None, **fault: Any) -> int:
        """Start a task (None: the finishing one); returns its process, which `wait` must be called for.

        Args:
            folder: of the run.
            task: its number.
            fault: `signal` to send to itself at the `count`-th time of a `moment`; `clock`: seconds by which the clock
                jumps at every third look, forth and back.
        """
        return int(self._ask({"do": "start", "folder": str(folder), "task": task, "fault": fault}))

    def wait(self, process: int) -> int:
        """Return the exit code of a process, negative for the signal that killed it."""
        return int(self._ask({"do": "wait", "process": process}))

    def run(self, folder: Path, task: int | None, **fault: Any) -> int:
        """Start a task and wait for its end."""
        return self.wait(self.start(folder, task, **fault))

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _ask(self, what: dict[str, Any]) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(what), file=self._process.stdin, flush=True)
        return self._process.stdout.readline()


def _child(folder: str, task: int | None, fault: dict[str, Any], log: str) -> int:
    for number, descriptor in ((1, os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)), (0, os.open(os.devnull, 0))):
        os.dup2(descriptor, number)
    os.dup2(1, 2)
    from segbatch import worker

    if "clock" in fault:
        _jumping(fault["clock"])
    if "signal" in fault:
        _arm(fault["moment"], fault["count"], lambda: os.kill(os.getpid(), fault["signal"]))
    try:
        return worker.run_task(Path(folder), task)
    except worker.SegbatchError as error:
        worker.log(str(error))
        return int(error.exit_code)
    except OSError as error:
        worker.log(worker._storage(error))
        return 1


def _jumping(seconds: float) -> None:
    true, looks = time.time, 0

    def now() -> float:
        nonlocal looks
        looks += 1
        return true() + seconds * (looks // 3 % 2)

    time.time = now


def _arm(moment: str, count: float, strike: Callable[[], None]) -> None:
    """Strike at the count-th time that a mask or a row is written, or after so many seconds."""
    from segbatch.inference import masks
    from segbatch.runs import journal

    left = count

    def due() -> bool:
        nonlocal left
        left -= 1
        return left == 0

    if moment == "at a time":
        threading.Timer(count, strike).start()
    elif moment.endswith("rename"):
        rename = os.replace

        def replace(source: Any, target: Any) -> None:
            now = ".png." in os.path.basename(source) and due()
            if now and moment == "before rename":
                strike()
            rename(source, target)
            if now and moment == "after rename":
                strike()

        os.replace = replace
    else:
        write = journal.JournalWriter.write

        def write_rows(self: journal.JournalWriter, rows: Any) -> None:
            now = due()
            if now and moment == "within a row":
                os.write(self._descriptor, b"".join(map(journal._encode, rows))[:9])
                strike()
                os.write(self._descriptor, b"\n")
            write(self, rows)
            if now and moment == "after a row":
                strike()

        masks.JournalWriter.write = write_rows  # type: ignore[method-assign]


def main() -> None:
    """Fork for every line on standard input."""
    import segbatch.evaluation.finish
    import segbatch.inference.task  # noqa: F401

    for line in sys.stdin:
        what = json.loads(line)
        if what["do"] == "wait":
            _, status = os.waitpid(what["process"], 0)
            print(os.waitstatus_to_exitcode(status), flush=True)
            continue
        process = os.fork()
        if not process:
            code = 70
            try:
                code = _child(what["folder"], what["task"], what["fault"], sys.argv[1])
            finally:
                os._exit(code)
        print(process, flush=True)


if __name__ == "__main__":
    main()

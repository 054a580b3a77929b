"""Shown to tasks of an image under test, by PYTHONPATH: notes what a task sees, and makes it slow where asked to.

It also finds packages that are lent to an image without TensorFlow.

A slow task stops after its first rows until a file `go` lies in its run's folder, or it is told to stop.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

LONGEST_S = 300.0
MODULE = "segbatch.worker"
LENT = "/host-packages"
"""Packages that the image lacks, where it was built without TensorFlow."""


def _note(run: Path) -> None:
    """Write what this process may do and see."""
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines())
    try:
        Path("/opt/venv/x").touch()
        refused = ""
    except OSError as error:
        refused = str(error.strerror)
    facts = {
        "user": os.getuid(),
        "capabilities": int(status["CapEff"], 16),
        "network": [name for _, name in socket.if_nameindex()],
        "refused": refused,
        "python": sys.executable,
        "slurm": shutil.which("srun"),
        "home": str(Path.home()) if Path.home().is_dir() else None,
    }
    folder = run / "seen"
    folder.mkdir(exist_ok=True)
    (folder / f"{os.getpid()}-{time.time_ns()}.json").write_text(json.dumps(facts))


def _slow(run: Path) -> None:
    """Let the first rows be written, and wait."""
    from segbatch.runs import journal

    told = threading.Event()
    write, listen = journal.JournalWriter.write, signal.signal

    def slowly(self: journal.JournalWriter, rows: Any) -> None:
        write(self, rows)
        end = time.monotonic() + LONGEST_S
        while not (run / "go").exists() and not told.is_set() and time.monotonic() < end:
            time.sleep(0.05)

    def heard(number: int, handler: Any) -> Any:
        def both(number: int, frame: Any) -> None:
            told.set()
            handler(number, frame)

        return listen(number, both if isinstance(handler, Callable) else handler)  # type: ignore[arg-type]

    journal.JournalWriter.write = slowly  # type: ignore[method-assign]
    signal.signal = heard


# Last, so that whatever the image has itself is taken from there.
if Path(LENT).is_dir():
    sys.path.append(LENT)
if MODULE in sys.orig_argv:
    _folder = Path(sys.orig_argv[sys.orig_argv.index(MODULE) + 1])
    if _folder.is_dir():
        _note(_folder)
        if os.environ.get("SEGBATCH_TEST_SLOW"):
            _slow(_folder)

"""The worker, which stops after its first rows until a file `go` lies in the run folder or it is told to stop.

A site's `python` can be set to the program that `slow_python` writes.
"""

from __future__ import annotations

import shlex
import sys
import threading
import time
from pathlib import Path
from typing import Any

LONGEST_S = 100.0


def slow_python(folder: Path) -> Path:
    """Write a program to be used as a site's `python`."""
    program = folder / "slow python"
    repo = Path(__file__).parent.parent.parent
    program.write_text(
        "#!/bin/bash\n"
        "# -P -m segbatch.worker RUN ...\n"
        f"export PYTHONPATH={shlex.quote(str(repo))}\n"
        f'exec {shlex.quote(sys.executable)} -m tests.support.slow_worker "${{@:4}}"\n'
    )
    program.chmod(0o755)
    return program


def main() -> None:
    """Run the worker with a journal that takes its time."""
    import segbatch.worker as worker
    from segbatch.runs import journal

    go = Path(sys.argv[1], "go")
    told = threading.Event()
    write, note = journal.JournalWriter.write, worker.StopFlag._note

    def slowly(self: journal.JournalWriter, rows: Any) -> None:
        write(self, rows)
        end = time.monotonic() + LONGEST_S
        while not go.exists() and not told.is_set() and time.monotonic() < end:
            time.sleep(0.05)

    def listen(self: worker.StopFlag, number: int, frame: Any) -> None:
        told.set()
        note(self, number, frame)

    journal.JournalWriter.write = slowly  # type: ignore[method-assign]
    worker.StopFlag._note = listen  # type: ignore[method-assign]
    worker.main()


if __name__ == "__main__":
    main()

"""The user's table of cron, read and written by its own program: crontab, or SLURM's scrontab."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from segbatch.cluster.cron.entry import Via
from segbatch.cluster.slurm.programs import Outcome, scrubbed
from segbatch.errors import SegbatchError

TIMEOUT_S = 60.0
_NONE = "no crontab for"
"""What both programs say where there is no table yet."""


@dataclass(frozen=True)
class Table:
    """The table of this user."""

    via: Via
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    timeout_s: float = TIMEOUT_S

    def read(self) -> str:
        """Return the table; empty where there is none.

        Raises:
            SegbatchError: it cannot be read.
        """
        done = self._call("-l")
        if done.code == 0:
            return done.out
        if done.code is not None and _NONE in done.err:
            return ""
        raise self._failed("be read", done)

    def write(self, text: str) -> bool:
        """Install a table, or remove it where nothing is left in it.

        A table that is so already is left alone: SLURM would cancel its jobs and start others.

        Returns:
            Whether anything was changed.

        Raises:
            SegbatchError: the program refused it; the table is as it was.
        """
        if text == self.read():
            return False
        if not text:
            done = self._call("-r")
        else:
            # From a file: a table on standard input is not understood by every version.
            with tempfile.TemporaryDirectory(prefix="segbatch-") as folder:
                path = Path(folder, "table")
                path.write_text(text, encoding="utf-8", errors="surrogateescape", newline="")
                done = self._call(str(path))
        if done.code != 0:
            raise self._failed("be changed", done)
        return True

    def _call(self, *arguments: str) -> Outcome:
        environ = {**scrubbed(self.environ), "LC_ALL": "C"}
        if shutil.which(self.via, path=environ.get("PATH")) is None:
            raise SegbatchError(f"the program {self.via} was not found. Is cron installed here? See --via.")
        return _execute([self.via, *arguments], environ, self.timeout_s)

    def _failed(self, what: str, done: Outcome) -> SegbatchError:
        words = " ".join((done.err or done.out).split()) or "without a word"
        how = f"it gave no answer in {self.timeout_s:.0f} s" if done.code is None else f"exit {done.code}: {words}"
        return SegbatchError(f"the table of {self.via} could not {what}: {how}")


def choose_via(asked: str, environ: Mapping[str, str] = os.environ) -> Via:
    """Decide what starts schedules: what was asked for, scrontab where it is enabled, else crontab.

    Raises:
        SegbatchError: neither is here, or what was asked for is not.
    """
    found = {name: shutil.which(name, path=environ.get("PATH")) is not None for name in ("scrontab", "crontab")}
    if asked in found:
        if not found[asked]:
            raise SegbatchError(f"the program {asked} was not found here. {_OTHERWISE}")
        return "scrontab" if asked == "scrontab" else "crontab"
    if found["scrontab"] and _enabled(environ):
        return "scrontab"
    if found["crontab"]:
        return "crontab"
    raise SegbatchError(f"neither scrontab nor crontab was found here. {_OTHERWISE}")


_OTHERWISE = (
    "Run this on a machine that has it, or let anything else that runs commands on time call "
    "`segbatch schedule fire NAME`; `segbatch schedule show JOB` prints the whole entry."
)


def _enabled(environ: Mapping[str, str]) -> bool:
    """Tell whether scrontab can be used: where it is disabled, it cannot even list."""
    done = _execute(["scrontab", "-l"], {**scrubbed(environ), "LC_ALL": "C"}, TIMEOUT_S)
    return done.code == 0 or (done.code is not None and _NONE in done.err)


def _execute(argv: list[str], environ: Mapping[str, str], timeout_s: float) -> Outcome:
    """Run a program whose output is kept byte for byte: a table holds what its user wrote, in any encoding."""
    try:
        done = subprocess.run(
            argv, env=environ, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        return Outcome(None, "", "")
    return Outcome(done.returncode, _text(done.stdout), _text(done.stderr))


def _text(output: bytes) -> str:
    return output.decode("utf-8", "surrogateescape")

"""What held, what fell short and what could not be tried."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
import traceback
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

HELD, FELL_SHORT, CANNOT = 0, 1, 77
"""Exit codes."""
LINES = 25
"""Of what a failure says, at most so many lines are shown."""


class MissingError(Exception):
    """This machine lacks something; the message names it."""


class FaultError(AssertionError):
    """Something is not as it must be; the message says what."""


@dataclass
class Report:
    """Prints a line for each check, and knows the sum of them."""

    held: int = 0
    failed: list[str] = field(default_factory=list)
    not_run: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def check(self, name: str) -> Iterator[None]:
        """Run a check; it failed if an exception comes out of it, and the others go on all the same."""
        start = time.monotonic()
        words, sign = "", "ok"
        try:
            yield
        except MissingError as reason:
            self.skip(name, str(reason))
            return
        except subprocess.CalledProcessError as error:
            words, sign = f"{error}\n{error.stdout or ''}{error.stderr or ''}", "FAIL"
        except AssertionError as error:
            words, sign = str(error) or traceback.format_exc(), "FAIL"
        except Exception:
            words, sign = traceback.format_exc(), "FAIL"
        print(f"{sign:<8}{time.monotonic() - start:6.1f} s  {name}", flush=True)
        if sign == "ok":
            self.held += 1
            return
        self.failed.append(name)
        for line in words.strip().splitlines()[-LINES:]:
            print(f"         | {line}", flush=True)

    def skip(self, name: str, reason: str) -> None:
        """Note a check that this machine cannot do."""
        self.not_run.append(f"{name}: {reason}")
        print(f"NOT RUN           {name}: {reason}", flush=True)

    def save(self, path: Path) -> None:
        """Write it for another process."""
        path.write_text(json.dumps(asdict(self)))

    def add(self, path: Path, what: str) -> None:
        """Take in what another process wrote; if it wrote nothing, it came to no end."""
        if not path.exists():
            self.failed.append(what)
            print(f"FAIL              {what}: ended early", flush=True)
            return
        other = Report(**json.loads(path.read_text()))
        self.held += other.held
        self.failed += other.failed
        self.not_run += other.not_run

    def close(self) -> int:
        """Print the sum and return the exit code; what was not run is never a success."""
        parts = [f"{self.held} held", f"{len(self.failed)} fell short", f"{len(self.not_run)} NOT RUN"]
        print(f"\n{', '.join(parts)}")
        for title, names in (("fell short", self.failed), ("NOT RUN", self.not_run)):
            for name in names:
                print(f"{title}: {name}")
        if self.failed:
            return FELL_SHORT
        return CANNOT if self.not_run else HELD

"""`segbatch --help` against importing its libraries alone: a login node answers at once."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.timing import ratio

LIMIT = 2.5


def measure() -> Iterator[tuple[str, bool]]:
    """Compare the two."""
    script = str(Path(sys.executable).with_name("segbatch"))
    ours, bare, times = ratio([script, "--help"], [sys.executable, "-c", "import click, pydantic, rich"])
    yield (
        f"segbatch --help {ours * 1000:.0f} ms, importing click, pydantic, rich {bare * 1000:.0f} ms: "
        f"{times:.2f} times (at most {LIMIT})",
        times <= LIMIT,
    )

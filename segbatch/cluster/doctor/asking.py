"""Asking a place about itself: whatever goes wrong is an answer too."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from segbatch.cluster.slurm.programs import execute, scrubbed
from segbatch.errors import SegbatchError

PATIENCE_S = 20.0
"""Seconds that one program may take."""
_WORDS = 300
"""Characters of a program's complaint that are kept."""
T = TypeVar("T")


@dataclass(frozen=True)
class Answer(Generic[T]):
    """A value, or why there is none."""

    value: T | None = None
    trouble: str = ""


def ask(question: Callable[[], T]) -> Answer[T]:
    """Put a question that may fail."""
    try:
        return Answer(question())
    except (SegbatchError, OSError, ValueError) as error:
        return Answer(trouble=str(error))


def located(program: str, environ: Mapping[str, str]) -> str:
    """Return a program's path; empty where it is not on PATH."""
    return shutil.which(program, path=environ.get("PATH", os.defpath)) or ""


def run_program(argv: Sequence[str], environ: Mapping[str, str], timeout_s: float = PATIENCE_S) -> Answer[str]:
    """Run a program and return what it printed on standard output."""
    path = located(argv[0], environ)
    if not path:
        return Answer(trouble=f"there is no program {argv[0]}")
    try:
        outcome = execute([path, *argv[1:]], scrubbed(environ), None, timeout_s)
    except OSError as error:
        return Answer(trouble=f"{path}: {error.strerror or error}")
    if outcome.code == 0:
        return Answer(outcome.out)
    said = " ".join((outcome.err or outcome.out).split())[-_WORDS:]
    if outcome.code is None:
        return Answer(trouble=f"no answer within {timeout_s:.0f} s" + (f": {said}" if said else ""))
    return Answer(trouble=said or f"exit code {outcome.code}")


def read_facts(text: str) -> dict[str, str]:
    """Read lines of a name, a tab and a value; a line without a tab, torn or foreign, is left out."""
    pairs = (line.partition("\t") for line in text.splitlines())
    return {name: value.strip() for name, tab, value in pairs if tab}

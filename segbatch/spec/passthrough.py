"""`slurm:` options that are handed on to sbatch: what would break the script, or what segbatch says itself."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping

from segbatch.spec.section import Conflict, KeyPath

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
RESERVED = frozenset(
    {"array", "comment", "dependency", "job-name", "wait", "wrap"}
    | {"chdir", "error", "input", "open-mode", "output"}
    | {"export", "export-file", "get-user-env"}
    | {"no-requeue", "requeue", "signal"}
    | {"help", "parsable", "quiet", "test-only", "usage", "verbose", "version"}
)
"""Options that segbatch gives itself; others would break what it promises."""
OWN_KEYS: Mapping[str, str] = {
    "cpus-per-task": "resources.cpus",
    "gpus": "resources.gpus",
    "gpus-per-node": "resources.gpus",
    "mem": "resources.memory",
    "nodes": "resources.nodes",
    "time": "resources.time",
}
"""Options that a job says with a key of its own."""


def option_conflicts(options: Mapping[str, str | int | bool], at: KeyPath = ("slurm",)) -> Iterator[Conflict]:
    """Yield what cannot be handed on to sbatch.

    Args:
        options: long names without dashes -> values; true stands for an option without a value.
        at: path of `options`.
    """
    for name, value in options.items():
        message = _wrong_name(name) or wrong_text(str(value))
        if message:
            yield Conflict((*at, name), message)


def _wrong_name(name: str) -> str:
    plain = name.lstrip("-").replace("_", "-")
    if plain in RESERVED:
        return f"segbatch sets --{plain} itself"
    if plain in OWN_KEYS:
        return f"say --{plain} as `{OWN_KEYS[plain]}`"
    if not _NAME.fullmatch(name):
        better = f"; write {plain!r}" if _NAME.fullmatch(plain) and len(plain) > 1 else ""
        return f"expected the long name of an sbatch option without dashes in front, received {name!r}{better}"
    return ""


def wrong_text(text: str) -> str:
    """Say why `text` cannot stand in an `#SBATCH` line; empty if it can."""
    if any(not letter.isprintable() for letter in text):
        return f"expected text without line breaks and control characters, received {text!r}"
    try:
        shlex.split(text)
    except ValueError:
        return f"expected text whose quotes come in pairs, received {text!r}"
    return ""

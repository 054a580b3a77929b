"""Names of networks: those that are built in, and those of files that somebody added to `segbatch/models/`.

The files are read as text, since the machine that a job is submitted from may have no TensorFlow.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from segbatch.spec.network import ARCHITECTURES, DECODERS, ENCODERS, Model
from segbatch.spec.problems import did_you_mean
from segbatch.spec.section import Conflict

_FOLDER = Path(__file__).parents[1] / "models"
_BUILTIN = {"architecture": ARCHITECTURES, "encoder": ENCODERS, "decoder": DECODERS}
_REGISTERED = re.compile(r"""^@(ARCHITECTURE|ENCODER|DECODER)S\.register\(\s*["']([^"']+)["']""", re.MULTILINE)


@cache
def registered(folder: Path = _FOLDER) -> dict[str, list[str]]:
    """Return the names of every kind (`architecture`, `encoder`, `decoder`) that files in `folder` know, sorted."""
    names = {kind: set(builtin) for kind, builtin in _BUILTIN.items()}
    for path in folder.glob("*.py"):
        for kind, name in _REGISTERED.findall(path.read_text(encoding="utf-8", errors="replace")):
            names[kind.lower()].add(name)
    return {kind: sorted(known) for kind, known in names.items()}


def unknown_names(model: Model) -> Iterator[Conflict]:
    """Yield the names in a job's `model` section that no file knows; paths are relative to the section."""
    for kind, known in registered().items():
        name = getattr(model, kind)
        if name is not None and name not in known:
            guess = did_you_mean(name, known)
            message = f"unknown {kind} {name!r}.{guess} Expected one of: {', '.join(known)}"
            yield Conflict((kind,), message)

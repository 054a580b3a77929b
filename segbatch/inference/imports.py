"""Keeping libraries that a task does not use from being imported by those that it uses."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

OPTIONAL = ("sklearn", "matplotlib", "pandas")
"""What Keras imports where it finds it, for wrappers, pictures and tables that predicting has no use for."""


@contextmanager
def without(names: tuple[str, ...] = OPTIONAL) -> Iterator[None]:
    """Let imports within this block find none of these packages, unless they are loaded already."""
    hidden = [name for name in names if name not in sys.modules]
    for name in hidden:
        # Documented: a name that maps to None raises ModuleNotFoundError.
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]

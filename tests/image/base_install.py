"""An environment as login nodes have it: the base install and nothing else, neither TensorFlow nor NumPy."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.image.machine import TOP, Place

_HEAVY = """
import importlib.util
names = ("tensorflow", "keras", "numpy", "pandas", "PIL", "matplotlib")
found = [name for name in names if importlib.util.find_spec(name)]
if found: raise SystemExit(f"more than the base install: {found}")
"""


def base_install(place: Place) -> Path:
    """Make the environment, by the lock of the base install, and return its Python.

    Raises:
        CalledProcessError: it cannot be made, or holds more than it should.
    """
    folder = place.folder / "base-install"
    place.run(sys.executable, "-m", "venv", folder)
    python = folder / "bin/python"
    lock = TOP / "docker/requirements-base.lock"
    place.run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--requirement", lock)
    place.run(python, "-c", _HEAVY)
    return python

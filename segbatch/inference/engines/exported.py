"""A bundle's network in an engine's own format: exported once, and kept under the bundle's digest."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from segbatch.models.bundle import Bundle
from segbatch.runs.files import temporary_name

Export = Callable[[Path], None]
"""Writes the network's files into a folder."""


def exported(bundle: Bundle, digest: str, kind: str, export: Export) -> Path:
    """Return the folder of an exported network, made if nobody has made it yet.

    It lies beside the bundle, or where that cannot be written in the user's cache folder. It appears whole: of two
    tasks that export at once, the second finds the first one's folder and drops its own.

    Args:
        bundle: what to export; its input size is part of the folder's name.
        digest: the bundle's, `sha256:...`.
        kind: engine and version.
        export: does it.

    Raises:
        OSError: neither place can be written.
    """
    height, width = bundle.info.input
    name = f"{digest.removeprefix('sha256:')[:16]}-{kind}-{height}x{width}"
    places = [_beside(bundle.path) / name, _cache() / name]
    found = next((place for place in places if place.is_dir()), None)
    return found or _made(places, export)


def _made(places: list[Path], export: Export) -> Path:
    for place in places:
        temporary = temporary_name(place)
        try:
            temporary.mkdir(parents=True)
        except OSError:
            # A bundle on a disk that others own, or a container's own.
            if place is places[-1]:
                raise
            continue
        try:
            export(temporary)
            temporary.rename(place)
        except OSError:
            if not place.is_dir():
                raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return place
    raise AssertionError


def _beside(bundle: Path) -> Path:
    return bundle / "engines" if bundle.is_dir() else bundle.with_name(f".{bundle.name}.engines")


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "segbatch" / "engines"

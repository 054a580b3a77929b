"""Putting a finished folder in another's place."""

from __future__ import annotations

import ctypes
import os
import shutil
from pathlib import Path

from segbatch.runs.files import temporary_name

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def replace_folder(new: Path, place: Path) -> None:
    """Rename folder `new` to `place`; a folder that is there already goes.

    On Linux and a file system that can swap two names there is a whole folder at `place` at every moment. Elsewhere
    it is missing between two renames, and the old one comes back if the second fails.

    Args:
        new: the finished folder, beside `place`.
        place: the name it gets.
    """
    for path in sorted(new.rglob("*")):
        if path.is_file():
            _sync(path)
    _sync(new)
    if not place.exists():
        new.rename(place)
    elif _exchange(new, place):
        shutil.rmtree(new)
    else:
        _rename_over(new, place)
    _sync(place.parent)


def _exchange(first: Path, second: Path) -> bool:
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    names = (os.fsencode(first), os.fsencode(second))
    return bool(renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0)


def _rename_over(new: Path, place: Path) -> None:
    aside = temporary_name(place)
    place.rename(aside)
    try:
        new.rename(place)
    except BaseException:
        aside.rename(place)
        raise
    shutil.rmtree(aside)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

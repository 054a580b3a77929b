"""Removing folders so that nobody ever meets half of one."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

TRASH = ".trash"


def discard(folder: Path, root: Path) -> None:
    """Remove a folder: it is gone at once, by a rename within `root`, and deleted then.

    Raises:
        OSError: it cannot be moved; then it is whole.
    """
    place = root / TRASH / secrets.token_hex(8)
    place.mkdir(parents=True)
    # One level deeper than runs lie, so that no command takes it for one.
    folder.rename(place / folder.name)
    shutil.rmtree(place, ignore_errors=True)
    _tidy(root)


def empty_trash(root: Path) -> None:
    """Delete what a killed command has moved away and not deleted."""
    shutil.rmtree(root / TRASH, ignore_errors=True)


def folder_size(folder: Path) -> int:
    """Bytes of the files in a folder; links count as themselves."""
    return sum(_sizes(folder))


def _sizes(folder: Path) -> Iterator[int]:
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                yield os.lstat(os.path.join(parent, name)).st_size
            except OSError:
                continue


def _tidy(root: Path) -> None:
    try:
        (root / TRASH).rmdir()
    except OSError:
        # Another command is at it, or something could not be deleted.
        return

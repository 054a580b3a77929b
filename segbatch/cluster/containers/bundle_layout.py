"""A root folder for one run: the image's folders as mount points, and room for the run's own."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from segbatch.errors import InputError


def lay_out(image: Path, root: Path, targets: Iterable[str]) -> list[str]:
    """Make an empty root folder in which the image's folders and the run's can be mounted side by side.

    Nothing is copied and the image is not touched. A folder of the image in which something else is mounted is made
    anew, with a mount for each of its entries; every other one needs a single mount.

    Args:
        image: root folder of the image.
        root: the new root folder; what exists of it already is kept.
        targets: absolute paths inside, on which something else than the image will be mounted.

    Returns:
        Absolute paths inside at which the image's own files and folders are to be mounted.

    Raises:
        InputError: a target lies behind a symbolic link of the image, which would lead out of the root folder.
    """
    wanted = set(targets)
    mounted = []
    pending = [""]
    while pending:
        folder = pending.pop()
        Path(f"{root}{folder}").mkdir(parents=True, exist_ok=True)
        with os.scandir(f"{image}{folder}/") as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                inside = f"{folder}/{entry.name}"
                here = Path(f"{root}{inside}")
                if entry.is_symlink():
                    _link(here, str(Path(entry.path).readlink()), inside, wanted)
                elif any(target.startswith(f"{inside}/") for target in wanted):
                    pending.append(inside)
                else:
                    make_place(here, folder=entry.is_dir())
                    if inside not in wanted and _holds_anything(entry):
                        mounted.append(inside)
    return mounted


def make_place(path: Path, *, folder: bool) -> None:
    """Make an empty folder or file on which something can be mounted."""
    if folder:
        path.mkdir(parents=True, exist_ok=True)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def _link(here: Path, text: str, inside: str, wanted: set[str]) -> None:
    blocked = next((target for target in wanted if target == inside or target.startswith(f"{inside}/")), "")
    if blocked:
        raise InputError(
            f"container: {blocked} cannot be mounted: in the image, {inside} is a symbolic link to {text}. "
            "Bind it elsewhere."
        )
    if not here.is_symlink():
        here.symlink_to(text)


def _holds_anything(entry: os.DirEntry[str]) -> bool:
    if not entry.is_dir():
        return True
    try:
        with os.scandir(entry.path) as inner:
            return next(inner, None) is not None
    except PermissionError:
        return True

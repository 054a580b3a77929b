"""What a task sees of the host: mounts, each with where it comes from, and none twice."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from segbatch.errors import InputError
from segbatch.spec.resources import Container

IMAGE_FOLDERS = tuple(
    f"/{name}"
    for name in (
        *("bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "opt", "opt/venv", "proc", "run", "sbin", "sys"),
        *("tmp", "usr", "var"),
    )
)
"""What the image itself needs; a mount over one of these would hide it."""


@dataclass(frozen=True)
class Mount:
    """A file or folder of the host that is seen inside."""

    source: str
    """Absolute path outside."""
    target: str
    """Absolute path inside."""
    writable: bool
    origin: str
    """Who asked for it, in words."""

    def __str__(self) -> str:
        """Describe the mount to people."""
        name = self.source if self.source == self.target else f"{self.source} as {self.target}"
        return f"{name}, {'read and write' if self.writable else 'read only'} ({self.origin})"


def same_path(path: str, origin: str, *, writable: bool = False) -> Mount:
    """Mount a path under its own name, since a run's record names its files by their paths outside."""
    path = os.path.normpath(path)
    return Mount(path, path, writable, origin)


def chosen_binds(container: Container, said_by: str) -> list[Mount]:
    """Mounts that a job or site names itself."""
    mounts = []
    for bind in container.binds:
        source, target, *mode = bind.split(":")
        mounts.append(
            Mount(os.path.normpath(source), os.path.normpath(target), mode != ["ro"], f"container.binds of {said_by}")
        )
    return mounts


def reduced(automatic: Iterable[Mount], chosen: Sequence[Mount] = ()) -> tuple[Mount, ...]:
    """Bring mounts together: one a target, none that its parent shows anyway, parents first.

    Args:
        automatic: what tasks need; may not hide what the image needs.
        chosen: what a person asked for; wins where both say what a path shows.

    Raises:
        InputError: one path would show two folders, or a mount would hide the image's own files.
    """
    by_target: dict[str, Mount] = {}
    for mount in automatic:
        _leave_the_image(mount)
        by_target[mount.target] = _both(by_target.get(mount.target), mount)
    picked: dict[str, Mount] = {}
    for mount in chosen:
        if mount.target == "/":
            raise InputError(f"container.binds: {mount.source}:{mount.target} would hide the whole image.")
        picked[mount.target] = _both(picked.get(mount.target), mount)
    ordered = sorted((by_target | picked).values(), key=lambda mount: PurePosixPath(mount.target).parts)
    kept: list[Mount] = []
    for mount in ordered:
        parent = next((other for other in reversed(kept) if _below(mount.target, other.target)), None)
        if parent is None or not _shows(parent, mount):
            kept.append(mount)
    return tuple(kept)


def _both(before: Mount | None, mount: Mount) -> Mount:
    if before is None:
        return mount
    if os.path.realpath(before.source) != os.path.realpath(mount.source):
        raise InputError(
            f"container: {mount.target} would have to show both {before.source} ({before.origin}) and {mount.source} "
            f"({mount.origin}). Bind what is meant by hand: `container: {{binds: ['OUTSIDE:{mount.target}:ro']}}`."
        )
    return replace(before, writable=before.writable or mount.writable)


def _below(path: str, folder: str) -> bool:
    return path.startswith(folder.rstrip("/") + "/")


def _shows(parent: Mount, mount: Mount) -> bool:
    inner = os.path.join(parent.source, os.path.relpath(mount.target, parent.target))
    return parent.writable == mount.writable and os.path.realpath(inner) == os.path.realpath(mount.source)


def hides_the_image(target: str) -> bool:
    """Tell whether a mount at `target` would cover files that the image needs."""
    return target == "/" or any(folder == target or _below(folder, target) for folder in IMAGE_FOLDERS)


def _leave_the_image(mount: Mount) -> None:
    if hides_the_image(mount.target):
        raise InputError(
            f"container: {mount.source} ({mount.origin}) cannot be seen inside: at {mount.target} it would hide the "
            "image's own files. Put the files into a folder of their own."
        )

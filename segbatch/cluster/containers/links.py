"""Symbolic links among a run's tiles: where they lead, so that they lead there inside too."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from segbatch.cluster.containers.mounts import Mount, hides_the_image
from segbatch.errors import InputError

HOPS = 40
"""Links of links that are followed, as many as Linux follows."""
MOST = 32
"""Mounts for links, at most; more are brought together in the folders above."""


@dataclass(frozen=True)
class _Folder:
    inside: str
    """Where the folder is reached inside, all links on the way resolved."""
    outside: str
    """The real folder."""
    links: frozenset[str]


class _Walk:
    """Looks at each folder of tiles once, and notes where links lead."""

    def __init__(self, root: str, origin: str) -> None:
        self._origin = f"links in {origin}"
        self._folders = {"": self._folder(os.path.normpath(root), os.path.realpath(root))}
        self.found: dict[tuple[str, str], Mount] = {}

    def visit(self, name: str) -> None:
        """Note where the links on the way to one tile lead; `name` is relative to the root."""
        folder, _, base = name.rpartition("/")
        here = self._enter(folder)
        if here is not None and base in here.links:
            for inside, outside in _hops(here, base):
                self._note(os.path.dirname(outside), os.path.dirname(inside))

    def _enter(self, name: str) -> _Folder | None:
        if name not in self._folders:
            parent, _, base = name.rpartition("/")
            above = self._enter(parent)
            if above is None:
                return None
            inside, outside = os.path.join(above.inside, base), os.path.join(above.outside, base)
            if base in above.links:
                for inside, outside in _hops(above, base):
                    self._note(outside, inside)
            self._folders[name] = self._folder(inside, outside)
        return self._folders[name]

    def _folder(self, inside: str, outside: str) -> _Folder:
        try:
            with os.scandir(outside) as entries:
                links = frozenset(entry.name for entry in entries if entry.is_symlink())
        except OSError:
            links = frozenset()
        return _Folder(inside, outside, links)

    def _note(self, outside: str, inside: str) -> None:
        if os.access(outside, os.F_OK):
            source = os.path.realpath(outside)
            self.found[source, inside] = Mount(source, inside, False, self._origin)


def _hops(folder: _Folder, base: str) -> Iterator[tuple[str, str]]:
    """Yield where a link leads, inside and outside, and on from there while it is a link again."""
    inside, outside = os.path.join(folder.inside, base), os.path.join(folder.outside, base)
    for _ in range(HOPS):
        text = str(Path(outside).readlink())
        inside = os.path.normpath(os.path.join(os.path.dirname(inside), text))
        above, last = os.path.split(os.path.join(os.path.dirname(outside), text.rstrip("/") or "/"))
        outside = (
            os.path.realpath(os.path.join(above, last))
            if last in ("", ".", "..")
            else os.path.join(os.path.realpath(above), last)
        )
        yield inside, outside
        if not Path(outside).is_symlink():
            return


def linked_mounts(root: str, names: Iterable[str], origin: str, known: Sequence[Mount] = ()) -> list[Mount]:
    """Return mounts that make links to files outside of `root` lead there inside too.

    Args:
        root: the folder of images, masks or predictions.
        names: files that tasks read, relative to `root`.
        origin: what `root` is called.
        known: what is mounted anyway.

    Raises:
        InputError: the links lead to more places than can be mounted.
    """
    walk = _Walk(root, origin)
    for name in names:
        walk.visit(name)
    shown = [(os.path.realpath(root), os.path.normpath(root))]
    shown += [(os.path.realpath(mount.source), mount.target) for mount in known]
    outside = [mount for mount in walk.found.values() if not any(_shown(mount, *place) for place in shown)]
    return _brought_together(outside, root, origin)


def _shown(mount: Mount, source: str, target: str) -> bool:
    """Tell whether a mount of `source` at `target` shows this one anyway."""
    rest = os.path.relpath(mount.target, target)
    return not rest.startswith("..") and os.path.normpath(os.path.join(source, rest)) == mount.source


def _brought_together(mounts: list[Mount], root: str, origin: str) -> list[Mount]:
    found = _without_inner(mounts)
    while len(found) > MOST:
        deepest = max(mount.target.count("/") for mount in found)
        lifted = [_above(mount) if mount.target.count("/") == deepest else mount for mount in found]
        if None in lifted:
            raise InputError(
                f"container: links in {root} ({origin}) lead to {len(found)} folders that have no folder in common, "
                f"such as {found[0].source} and {found[-1].source}; at most {MOST} can be mounted. Bind a folder that "
                "holds them, as in `container: {binds: ['/archive:/archive:ro']}`."
            )
        found = _without_inner([mount for mount in lifted if mount is not None])
    return found


def _without_inner(mounts: list[Mount]) -> list[Mount]:
    kept: dict[str, Mount] = {}
    for mount in sorted(mounts, key=lambda mount: mount.target.count("/")):
        above = mount.target
        while above != "/":
            above = os.path.dirname(above)
            if above in kept and _shown(mount, kept[above].source, above):
                break
        else:
            kept[mount.target] = mount
    return list(kept.values())


def _above(mount: Mount) -> Mount | None:
    """Return the mount of the folder above; None where that is another thing inside than outside, or too much."""
    source, target = os.path.dirname(mount.source), os.path.dirname(mount.target)
    same = os.path.basename(mount.source) == os.path.basename(mount.target)
    return Mount(source, target, False, mount.origin) if same and not hides_the_image(target) else None

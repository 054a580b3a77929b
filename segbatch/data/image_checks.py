"""What a sample of images says of all of them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from segbatch.data.findings import Finding, Severity, Sightings, counted, shown, tallied
from segbatch.data.formats import ImageFormat
from segbatch.data.pictures import Picture, PictureError, bands_of, check_bands, read_picture
from segbatch.data.reasons import sized

_EXTENSIONS = {
    "JPEG": {".jpg", ".jpeg", ".jpe", ".jfif"},
    "PNG": {".png"},
    "GIF": {".gif"},
    "BMP": {".bmp", ".dib"},
}


@dataclass(frozen=True)
class Look:
    """One file that was looked at."""

    path: str
    picture: Picture | None = None
    fault: str = ""
    """Why it cannot be read, when there is no picture."""


def look(path: str) -> Look:
    """Read and decode one file."""
    try:
        return Look(path, read_picture(Path(path)))
    except PictureError as reason:
        return Look(path, fault=str(reason))


def wrong_extension(path: str, picture: Picture) -> str | None:
    """Describe a file whose name claims another kind than its content: "JPEG named .png"."""
    extension = os.path.splitext(path)[1]
    return None if extension.lower() in _EXTENSIONS[picture.kind] else f"{picture.kind} named {extension}"


@dataclass(frozen=True)
class Wanted:
    """What the job takes."""

    fmt: ImageFormat
    size: tuple[int, int] | None
    """Declared height and width of every tile."""
    window: int | None
    """Side of the windows, in a predict job with `fit: window`."""
    tolerant: bool
    """Files that cannot be used are left out and listed, instead of ending the job."""


class ImageChecks:
    """Counts what is seen in images.

    Args:
        wanted: what the job takes.
    """

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._severity: Severity = "warning" if wanted.tolerant else "error"
        self._unreadable, self._bands, self._bits, self._declared = (Sightings() for _ in range(4))
        self._extensions, self._small = Sightings(), Sightings()
        self._kinds: dict[str, Counter[str]] = {"sizes": Counter(), "bands": Counter(), "depths": Counter()}
        self._last = ""

    def add(self, one: Look) -> None:
        """Count one image."""
        path = shown(one.path)
        picture = one.picture
        if picture is None:
            self._unreadable.add(path, one.fault)
            return
        self._last = path
        if (named := wrong_extension(one.path, picture)) is not None:
            self._extensions.add(path, named)
        self._fitting(path, picture)
        height, width = picture.size
        self._kinds["sizes"][f"{width} x {height}"] += 1
        self._kinds["bands"][bands_of(picture.mode)] += 1
        self._kinds["depths"][f"{picture.bits} bits"] += 1

    def _fitting(self, path: str, picture: Picture) -> None:
        wanted = self._wanted
        try:
            if picture.bits != wanted.fmt.depth:
                self._bits.add(path, f"{picture.bits} bits")
            else:
                check_bands(picture.mode, wanted.fmt.bands)
        except PictureError:
            self._bands.add(path, bands_of(picture.mode))
        if wanted.size is not None and picture.size != tuple(wanted.size):
            self._declared.add(path, sized(picture.size))
        if wanted.window is not None and min(picture.size) < wanted.window:
            self._small.add(path, sized(picture.size))

    def findings(self) -> Iterator[Finding]:
        """Yield what was found."""
        severity = self._severity
        if seen := self._unreadable.count:
            message = f"{counted(seen, 'image')} cannot be read: {self._unreadable.shared()}"
            fix = "Fetch or make these files anew, or take them out of the folder or table"
            fix += "; otherwise they are rejected by name and the run goes on." if self._wanted.tolerant else "."
            yield self._finding(severity, "unreadable images", message, self._unreadable, fix)
        yield from self._misfits(severity)
        if self._small.count:
            message = f"{counted(self._small.count, 'image')} smaller than a window of {self._wanted.window} pixels"
            fix = "They are mirrored outwards to fill one window; choose a smaller `predict.window`, or `fit: resize`."
            yield self._finding("warning", "window larger than tile", message, self._small, fix)
        if self._extensions.count:
            message = f"{counted(self._extensions.count, 'image')} of another kind than the name says: "
            fix = "No harm here, files are read by content; rename them if other programs shall read them."
            message += self._extensions.shared()
            yield self._finding("warning", "wrong extensions", message, self._extensions, fix)
        yield from self._mixed()

    def _misfits(self, severity: Severity) -> Iterator[Finding]:
        fmt, size = self._wanted.fmt, self._wanted.size
        if self._bits.count:
            message = f"{counted(self._bits.count, 'image')} of {self._bits.shared()}, expected {fmt.depth} bits"
            other = 8 if fmt.depth == 16 else 16
            fix = f"Set `data.depth: {other}` for training, or convert the images to {fmt.depth} bits."
            yield self._finding(severity, "image depth", message, self._bits, fix)
        if self._bands.count:
            message = f"{counted(self._bands.count, 'image')} of {self._bands.shared()}, expected {fmt.bands}"
            fix = f"Set `data.bands` to what the images have for training, or convert them to {fmt.bands} bands."
            yield self._finding(severity, "image bands", message, self._bands, fix)
        if self._declared.count and size is not None:
            message = f"{counted(self._declared.count, 'image')} of another size than {sized(size)}: "
            message += self._declared.shared()
            fix = "Mend `data.size` (height first, then width), or leave it out to take tiles of any size."
            yield self._finding(severity, "declared size", message, self._declared, fix)

    def _mixed(self) -> Iterator[Finding]:
        fixes = {
            "sizes": "Nothing to do if that is meant; `data.size` makes a job refuse tiles of any other size.",
            "bands": f"Nothing to do if that is meant: all are brought to {self._wanted.fmt.bands} bands.",
        }
        for what, fix in fixes.items():
            kinds = self._kinds[what]
            if len(kinds) > 1 and not (self._bands.count or self._bits.count):
                yield Finding("warning", f"mixed {what}", f"images of {tallied(kinds)}", kinds.total(), self._last, fix)

    @staticmethod
    def _finding(severity: Severity, kind: str, message: str, seen: Sightings, fix: str) -> Finding:
        return Finding(severity, kind, message, seen.count, seen.example, fix)

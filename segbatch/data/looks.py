"""What one file of the data shows, kept without its pixels."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from segbatch.data.faults import PictureError
from segbatch.data.findings import Finding, Sightings, shown, tallied
from segbatch.data.pictures import COLOR_MODES, Picture, common_colors, read_picture
from segbatch.data.reasons import raw_mask_of, sized
from segbatch.runs.walk import TIFF_SUFFIXES

Color = tuple[int, int, int]

_EXTENSIONS = {
    "JPEG": {".jpg", ".jpeg"},
    "PNG": {".png"},
    "GIF": {".gif"},
    "BMP": {".bmp"},
    "TIFF": TIFF_SUFFIXES,
}
_COLORS_KEPT = 64


@dataclass(frozen=True)
class MaskContent:
    """What the pixels of a mask hold."""

    values: Mapping[int, int] = field(default_factory=dict)
    """Value on disk -> number of pixels; empty for a mask of colours."""
    colors: Mapping[Color, int] = field(default_factory=dict)
    """For a mask of colours: the most frequent ones -> number of pixels."""
    palette: Mapping[int, Color] = field(default_factory=dict)
    """For a palette mask: value -> colour shown for it."""


@dataclass(frozen=True)
class Look:
    """One file that was read."""

    name: str
    """Its path below its folder."""
    path: str
    """Its whole path."""
    fault: str = ""
    """Why it is of no use; then nothing below is known."""
    kind: str = ""
    """JPEG, PNG, GIF, BMP or TIFF, by content."""
    mode: str = ""
    """Name of what a pixel holds, as `Picture.mode`."""
    bits: int = 8
    """Bits of a band."""
    size: tuple[int, int] | None = None
    """Height and width."""
    mask: MaskContent | None = None
    """What it holds as a mask."""


def look_at_image(root: str, name: str) -> Look:
    """Read and decode an image."""
    return _look(root, name, lambda picture: None)


def look_at_mask(root: str, name: str) -> Look:
    """Read and decode a mask, and count its values."""
    return _look(root, name, _mask_content)


def _look(root: str, name: str, content: Callable[[Picture], MaskContent | None]) -> Look:
    path = os.path.join(root, name)
    try:
        picture = read_picture(Path(path))
        held = content(picture)
    except PictureError as reason:
        return Look(shown(name), shown(path), str(reason))
    return Look(shown(name), shown(path), "", picture.kind, picture.mode, picture.bits, picture.size, held)


def _mask_content(picture: Picture) -> MaskContent:
    try:
        counts = np.bincount(raw_mask_of(picture).ravel(), minlength=256)
    except PictureError:
        if picture.bits != 8 or picture.mode not in COLOR_MODES:
            raise
        return MaskContent(colors=_colors(picture))
    values = {value: int(counts[value]) for value in np.flatnonzero(counts).tolist()}
    return MaskContent(values=values, palette=_palette(picture))


def _colors(picture: Picture) -> dict[Color, int]:
    colors, counts = common_colors(np.asarray(picture.pixels.convert("RGB"), np.uint8))
    rows = zip(colors[:_COLORS_KEPT].tolist(), counts.tolist(), strict=False)
    return {(red, green, blue): count for (red, green, blue), count in rows}


def _palette(picture: Picture) -> dict[int, Color]:
    flat = (picture.pixels.getpalette() or []) if picture.mode == "P" else []
    return {n: (flat[3 * n], flat[3 * n + 1], flat[3 * n + 2]) for n in range(len(flat) // 3)}


class FileChecks:
    """Counts what is seen in files of any role: whether they are of use, and whether their names are true.

    Args:
        what: their role, such as "mask".
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self.sizes, self.colors = Sightings(), Sightings()
        """Masks of another size than their tiles, and masks of colours."""
        self._faulty = Sightings()
        self._misnamed: Counter[str] = Counter()
        self._first_misnamed = ""

    def add(self, one: Look) -> None:
        """Count one file."""
        if one.fault:
            self._faulty.add(one.path, one.fault)
            return
        extension = os.path.splitext(one.name)[1]
        if extension.lower() not in _EXTENSIONS[one.kind]:
            self._misnamed[f"{one.kind} named {extension}"] += 1
            self._first_misnamed = self._first_misnamed or f"{one.name} is {one.kind}"

    def add_mask(self, one: Look, size: tuple[int, int] | None) -> MaskContent | None:
        """Count one file of a mask, and return what it holds, where it could be read.

        Args:
            one: what the file shows.
            size: its tile's height and width, where that is known.
        """
        self.add(one)
        if one.size is None or one.mask is None:
            return None
        if size is not None and one.size != size:
            self.sizes.add(one.name, f"{sized(one.size)}, its tile {sized(size)}")
        if one.mask.colors:
            self.colors.add(one.name, "holds colours")
        return one.mask

    def findings(self) -> Iterator[Finding]:
        """Yield what was found."""
        if self._faulty.count:
            message = f"{self._what}s cannot be read: {self._faulty.summary()}"
            fix = "Fetch or make these files anew, or take them out of the folder or table; runs reject them by name."
            yield self._faulty.finding("error", "unreadable files", message, fix)
        if self._misnamed:
            message = f"{self._what}s are of another kind than their names say: {tallied(self._misnamed)}"
            fix = "Nothing need be done, files are read by content; rename them if other programs shall read them."
            count = self._misnamed.total()
            yield Finding("warning", "wrong extensions", message, count, self._first_misnamed, fix)

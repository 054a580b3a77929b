"""What a sample of masks says of all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from segbatch.data.causes import Color, Values, cause_of
from segbatch.data.findings import Finding, Severity, Sightings, counted, shown
from segbatch.data.image_checks import Look, wrong_extension
from segbatch.data.pictures import PictureError, common_colors
from segbatch.data.reasons import listed, raw_mask_of, sized
from segbatch.spec.labels import IGNORED, UNCLAIMED, Labels


class MaskChecks:
    """Counts what is seen in masks: ground truth, or predictions to evaluate.

    Args:
        labels: the classes.
        table: value on disk to class index, 256 bytes.
        what: "mask" or "prediction".
        tolerant: files that cannot be used are left out and listed, instead of ending the job.
    """

    def __init__(self, labels: Labels, table: bytes, what: str, *, tolerant: bool) -> None:
        self._labels, self._table, self._what = labels, table, what
        self._severity: Severity = "warning" if tolerant else "error"
        self._unreadable, self._colors, self._sizes, self._extensions = (Sightings() for _ in range(4))
        self._unclaimed, self._ignored, self._seen = Sightings(), Sightings(), Sightings()
        self._pixels: Counter[int] = Counter()
        self._color_pixels: Counter[Color] = Counter()
        self._palette: dict[int, Color] = {}
        self._jpeg = False

    def add(self, one: Look, size: tuple[int, int] | None) -> None:
        """Count one mask; `size` is its tile's height and width, where that is known."""
        path, picture = shown(one.path), one.picture
        if picture is None:
            self._unreadable.add(path, one.fault)
            return
        if (named := wrong_extension(one.path, picture)) is not None:
            self._extensions.add(path, named)
        if size is not None and picture.size != size:
            self._sizes.add(path, f"{sized(picture.size)} for {sized(size)}")
        try:
            values = raw_mask_of(picture)
        except PictureError as reason:
            if picture.bits == 8 and not picture.mode.startswith(("I", "F")):
                self._add_colors(path, np.asarray(picture.pixels.convert("RGB"), np.uint8))
            else:
                self._unreadable.add(path, str(reason))
            return
        self._seen.add(path)
        self._jpeg = self._jpeg or picture.kind == "JPEG"
        if picture.mode == "P":
            self._add_palette(picture.pixels.getpalette() or [])
        self._add_values(path, np.bincount(values.ravel(), minlength=256))

    def _add_values(self, path: str, counts: np.ndarray) -> None:
        found = np.flatnonzero(counts).tolist()
        self._pixels.update({value: int(counts[value]) for value in found})
        meanings = {self._table[value] for value in found}
        if UNCLAIMED in meanings:
            self._unclaimed.add(path)
        if meanings == {IGNORED}:
            self._ignored.add(path)

    def _add_colors(self, path: str, pixels: np.ndarray) -> None:
        self._colors.add(path)
        colors, counts = common_colors(pixels)
        for (red, green, blue), count in zip(colors[:64].tolist(), counts[:64].tolist(), strict=True):
            self._color_pixels[red, green, blue] += count

    def _add_palette(self, flat: list[int]) -> None:
        for value in range(len(flat) // 3):
            red, green, blue = flat[3 * value : 3 * value + 3]
            self._palette.setdefault(value, (red, green, blue))

    def findings(self) -> Iterator[Finding]:
        """Yield what was found."""
        what, severity = self._what, self._severity
        if self._unreadable.count:
            message = f"{counted(self._unreadable.count, what)} cannot be read: {self._unreadable.shared()}"
            fix = "Fetch or make these files anew, or take them and their images out of the folder or table."
            yield self._finding(severity, f"unreadable {what}s", message, self._unreadable, fix)
        if self._sizes.count:
            message = f"{counted(self._sizes.count, what)} of another size than the tile: {self._sizes.shared()}"
            fix = f"Bring the {what}s to their tiles' size with nearest neighbour, or mend how files are paired."
            yield self._finding(severity, f"{what} size", message, self._sizes, fix)
        if self._colors.count:
            yield self._colored()
        yield from self._values()
        if self._ignored.count:
            message = f"{counted(self._ignored.count, what)} of ignored pixels alone"
            fix = "Nothing is learned from them or scored on them; leave them out, or look at `ignore` in the labels."
            yield self._finding("warning", "only ignored pixels", message, self._ignored, fix)
        if self._extensions.count:
            message = f"{counted(self._extensions.count, what)} of another kind than the name says: "
            fix = (
                "Files are read by content, so this does no harm by itself; but JPEG changes values, and PNG does not."
            )
            message += self._extensions.shared()
            yield self._finding("warning", f"{what}s of wrong extension", message, self._extensions, fix)

    def _colored(self) -> Finding:
        names = {item.color: item.name for item in self._labels.classes}
        common = [color for color, _ in self._color_pixels.most_common(4)]
        known = [f"#{bytes(color).hex()} ({names[color]})" for color in common if color in names]
        held = ", ".join(f"#{bytes(color).hex()}" for color in common)
        message = f"{counted(self._colors.count, self._what)} of colours instead of class numbers, most often {held}"
        fix = "Write one channel of class numbers, or a palette PNG whose pixels hold them"
        fix += f"; the labels' own colours tell which: {', '.join(known)}." if known else "."
        return self._finding(self._severity, f"{self._what}s of colours", message, self._colors, fix)

    def _values(self) -> Iterator[Finding]:
        values = Values(self._pixels, self._table, self._jpeg, self._palette or None)
        cause = cause_of(values, self._labels)
        kind = f"{self._what} values"
        if values.unclaimed:
            counts = np.array([self._pixels.get(value, 0) for value in range(256)], np.int64)
            message = f"values that no class claims in {counted(self._unclaimed.count, self._what)}: "
            message += listed(values.unclaimed, counts) + (f"; {cause.reason}" if cause else "")
            fix = (
                cause.fix if cause else "Give them to a class with `values:` in the labels, or set `unclaimed: ignore`."
            )
            yield self._finding(self._severity, kind, message, self._unclaimed, fix)
        elif cause is not None:
            yield self._finding(
                self._severity, kind, f"all values are claimed, but {cause.reason}", self._seen, cause.fix
            )

    @staticmethod
    def _finding(severity: Severity, kind: str, message: str, seen: Sightings, fix: str) -> Finding:
        return Finding(severity, kind, message, seen.count, seen.example, fix)

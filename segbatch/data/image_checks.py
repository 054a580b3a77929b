"""What a sample of images says of all of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from segbatch.data.faults import PictureError
from segbatch.data.findings import Finding, Sightings, tallied
from segbatch.data.formats import ImageFormat
from segbatch.data.looks import FileChecks, Look
from segbatch.data.pictures import bands_of, check_bands
from segbatch.data.reasons import sized


@dataclass(frozen=True)
class Wanted:
    """What the job takes."""

    fmt: ImageFormat
    size: tuple[int, int] | None
    """Declared height and width of every tile."""
    window: int | None
    """Side of the windows, in a predict job with `fit: window`."""


class ImageChecks:
    """Counts what is seen in images.

    Args:
        wanted: what the job takes.
    """

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._files = FileChecks("image")
        self._bands, self._bits, self._declared, self._small = (Sightings() for _ in range(4))
        self._sizes: dict[str, Sightings] = {}
        self._kinds: dict[str, Sightings] = {}

    def add(self, one: Look) -> None:
        """Count one image."""
        self._files.add(one)
        if one.size is None:
            return
        wanted, size = self._wanted, sized(one.size)
        self._sizes.setdefault(size, Sightings()).add(one.name)
        self._kinds.setdefault(bands_of(one.mode), Sightings()).add(one.name)
        if one.bits != wanted.fmt.depth:
            self._bits.add(one.name, f"{one.bits} bits")
        else:
            try:
                check_bands(one.mode, wanted.fmt.bands)
            except PictureError:
                self._bands.add(one.name, bands_of(one.mode))
        if wanted.size is not None and one.size != tuple(wanted.size):
            self._declared.add(one.name, size)
        if wanted.window is not None and min(one.size) < wanted.window:
            self._small.add(one.name, size)

    def findings(self) -> Iterator[Finding]:
        """Yield what was found."""
        yield from self._files.findings()
        yield from self._misfits()
        if self._small.count:
            message = f"images are smaller than a window of {self._wanted.window} pixels"
            fix = "Choose a smaller `predict.window`, or `fit: resize`; as it is, they are mirrored to fill a window."
            yield self._small.finding("warning", "window larger than tile", message, fix)
        if not self._declared.count:
            fix = "Nothing need be done if that is meant; `data.size` makes a job refuse tiles of any other size."
            yield from _mixed(self._sizes, "sizes of tiles", fix)
        if not self._bands.count and not self._bits.count:
            fix = f"Nothing need be done if that is meant: all are brought to {self._wanted.fmt.bands} bands."
            yield from _mixed(self._kinds, "bands of tiles", fix)

    def _misfits(self) -> Iterator[Finding]:
        fmt, size = self._wanted.fmt, self._wanted.size
        if self._bits.count:
            other = 8 if fmt.depth == 16 else 16
            message = f"images of {other} bits, expected {fmt.depth}"
            fix = f"Train with `data.depth: {other}`, or convert the images to {fmt.depth} bits."
            yield self._bits.finding("error", "unfit images", message, fix)
        if self._bands.count:
            message = f"images of {self._bands.summary()}, expected {fmt.bands}"
            fix = f"Train with the `data.bands` that the images have, or convert them to {fmt.bands} bands."
            yield self._bands.finding("error", "unfit images", message, fix)
        if self._declared.count and size is not None:
            message = f"images of another size than `data.size`, {sized(size)}: {self._declared.summary()}"
            fix = "Mend `data.size` (height first, then width), or leave it out to take tiles of any size."
            yield self._declared.finding("error", "declared size", message, fix)


def _mixed(seen: dict[str, Sightings], kind: str, fix: str) -> Iterator[Finding]:
    if len(seen) < 2:
        return
    counts = {what: sightings.count for what, sightings in seen.items()}
    others = sorted(counts, key=lambda what: (-counts[what], what))[1:]
    odd = seen[others[0]].example
    number = sum(counts[what] for what in others)
    yield Finding("warning", kind, f"images differ: {tallied(counts)}", number, f"{odd}: {others[0]}", fix)

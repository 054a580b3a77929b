"""What a sample of labelled regions says of all of them."""

from __future__ import annotations

from collections.abc import Iterator

from segbatch.data.findings import Finding, Sightings
from segbatch.data.looks import FileChecks, Look


class RegionChecks:
    """Counts what is seen in masks of labelled regions, which are 0 where nobody labelled."""

    def __init__(self) -> None:
        self._files = FileChecks("labelled region")
        self._empty = Sightings()

    def add(self, one: Look, size: tuple[int, int] | None) -> None:
        """Count one mask; `size` is its tile's height and width, where that is known."""
        mask = self._files.add_mask(one, size)
        if mask is not None and not mask.colors and not any(mask.values):
            self._empty.add(one.name)

    def findings(self) -> Iterator[Finding]:
        """Yield what was found."""
        yield from self._files.findings()
        if self._files.sizes.count:
            fix = "Bring them to their tiles' size with nearest neighbour, or mend `data.labelled`."
            yield self._files.sizes.finding("error", "sizes", "labelled regions and their tiles differ in size", fix)
        if self._files.colors.count:
            message = "labelled regions hold colours instead of one value a pixel"
            fix = "Convert them to one channel: 0 where nobody labelled, anything else where somebody did."
            yield self._files.colors.finding("error", "colour labelled regions", message, fix)
        if self._empty.count:
            message = "labelled regions are 0 everywhere: nothing is learned from their tiles"
            fix = "Leave these tiles out, or look whether `data.labelled` names the right folder."
            yield self._empty.finding("warning", "empty labelled regions", message, fix)

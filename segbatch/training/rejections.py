"""Tiles that training could not use: named, with their reason, and counted against the job's limit."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from segbatch.errors import TooManyRejectedError
from segbatch.training.tables import write_table

HEADER = ("part", "tile", "reason")
SHOWN = 5


@dataclass(frozen=True)
class Rejected:
    """One tile that was left out."""

    part: str
    """train or val."""
    index: int
    """Position in the part's list."""
    tile: str
    """Name of the tile."""
    reason: str
    """Why it could not be used."""


def limit_of(max_rejected: int | float, tiles: int) -> int:
    """Tiles that may be left out of `tiles`: a count as it is, a share rounded down."""
    return max_rejected if isinstance(max_rejected, int) else int(max_rejected * tiles)


class Rejections:
    """The tiles left out so far; each is counted once, however many epochs miss it.

    Args:
        path: `rejected.csv`, written anew whenever there is one more; None writes nothing.
        limit: how many there may be.
        explain: (part, index) to the tile's name and the reason.
        found: those that earlier attempts found.
    """

    def __init__(
        self,
        path: Path | None,
        limit: int,
        explain: Callable[[str, int], tuple[str, str]],
        found: Iterable[Rejected] = (),
    ) -> None:
        self._path, self._limit, self._explain = path, limit, explain
        self.found = list(found)
        self._known = {(item.part, item.index) for item in self.found}

    def add(self, part: str, indices: Iterable[int]) -> None:
        """Note the tiles of a part that the stream left out.

        Raises:
            TooManyRejectedError: more than the limit; the message names the first few with their reasons.
        """
        new = [index for index in indices if (part, index) not in self._known]
        for index in new:
            self.found.append(Rejected(part, index, *self._explain(part, index)))
            self._known.add((part, index))
            if len(self.found) > self._limit:
                self._write()
                raise TooManyRejectedError(self._message())
        if new:
            self._write()

    def _write(self) -> None:
        if self._path is None:
            return
        write_table(self._path, HEADER, [(item.part, item.tile, item.reason) for item in self.found])

    def _message(self) -> str:
        named = "\n".join(f"  {item.tile}: {item.reason}" for item in self.found[:SHOWN])
        more = f"\n  and {len(self.found) - SHOWN} more in rejected.csv" if len(self.found) > SHOWN else ""
        return (
            f"Training stopped: {len(self.found)} tiles could not be used, `train.max_rejected` allows {self._limit}:\n"
            f"{named}{more}\nMend or remove them, or raise `train.max_rejected`."
        )

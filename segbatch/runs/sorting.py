"""Sorting more rows than fit into memory: sorted pieces go to a temporary file and are merged while they are read."""

from __future__ import annotations

import marshal
import tempfile
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import IO, Any, Generic, TypeVar, overload

from segbatch.errors import SegbatchError

Row = tuple[str, ...]
T = TypeVar("T")
PIECE = 24_000_000
"""Weight of the rows that are held and sorted at once; roughly their bytes."""
BLOCK = 128_000
"""Weight of the rows that are written and read at once: a merge holds one such block of every piece."""
_ROW, _FIELD = 56, 57
"""What Python needs for a tuple and for a text, besides the letters."""


class Sorter:
    """Takes rows in any order and gives them back in ascending order.

    Up to a weight of `PIECE`, nothing is written.
    """

    def __init__(self) -> None:
        self._held: list[Row] = []
        self._weight = 0
        self._pieces: list[_Piece] = []
        self._spool = _Spool()

    def add(self, row: Row) -> None:
        """Take one row; equal ones are all kept.

        Raises:
            SegbatchError: the folder for temporary files is full.
        """
        self._held.append(row)
        self._weight += _weight(row)
        if self._weight >= PIECE:
            self._spill()

    def rows(self) -> Sequence[Row]:
        """Return the rows in order; nothing can be added any more.

        They are meant to be walked through, as often as wanted: finding one by its position costs a walk. What does
        not fit into memory lies in a nameless temporary file, gone when nobody needs it any more. Few rows are a list.
        """
        if not self._pieces:
            self._held.sort()
            return self._held
        if self._held:
            self._spill()
        return _Merged(self._pieces)

    def _spill(self) -> None:
        self._held.sort()
        self._pieces.append(self._spool.write(self._held))
        self._held, self._weight = [], 0


def ordered(rows: Iterable[Row]) -> Sequence[Row]:
    """Sort rows in bounded memory, as `Sorter` does."""
    sorter = Sorter()
    for row in rows:
        sorter.add(row)
    return sorter.rows()


def mapped(rows: Sequence[Row], make: Callable[[Row], T]) -> Sequence[T]:
    """Return what a function makes of each row; of rows in a file, when it is asked for."""
    return [make(row) for row in rows] if isinstance(rows, list) else _Mapped(rows, make)


def beside(rows: Iterable[Row], others: Iterable[Row]) -> Iterator[tuple[Row, Row | None]]:
    """Yield each row with the first of the others that begins with the same field, or None; both are in order."""
    walk = iter(others)
    other = next(walk, None)
    for row in rows:
        while other is not None and other[0] < row[0]:
            other = next(walk, None)
        yield row, other if other is not None and other[0] == row[0] else None


def _weight(row: Row) -> int:
    return _ROW + sum(map(len, row)) + _FIELD * len(row)


class _Piece:
    """Rows in ascending order, in blocks of a file."""

    def __init__(self, handle: IO[bytes], blocks: Sequence[int], rows: int) -> None:
        self._handle, self._blocks, self.rows = handle, blocks, rows

    def __iter__(self) -> Iterator[list[Row]]:
        """Yield its blocks."""
        for offset in self._blocks:
            # Several walks share the file, so each block is looked up where it lies.
            self._handle.seek(offset)
            yield marshal.load(self._handle)


class _Spool:
    """The temporary file that the pieces of one sort share; made when the first is written."""

    def __init__(self) -> None:
        self._handle: IO[bytes] | None = None

    def write(self, rows: Sequence[Row]) -> _Piece:
        try:
            if self._handle is None:
                self._handle = tempfile.TemporaryFile(prefix="segbatch-")  # noqa: SIM115 - open as long as its rows are
            blocks = [self._block(block) for block in _blocks(rows)]
            self._handle.flush()
        except OSError as error:
            raise SegbatchError(
                f"cannot keep the tile list in {tempfile.gettempdir()} while it is sorted: {error.strerror}. "
                "Expected room for some 500 bytes a tile; name another folder in the environment variable TMPDIR."
            ) from error
        return _Piece(self._handle, blocks, len(rows))

    def _block(self, rows: list[Row]) -> int:
        assert self._handle is not None
        offset = self._handle.seek(0, 2)
        # Marshal takes the undecodable bytes of file names as they are, at twice the speed of pickle.
        marshal.dump(rows, self._handle)
        return offset


def _blocks(rows: Sequence[Row]) -> Iterator[list[Row]]:
    remaining = iter(rows)
    while sample := list(islice(remaining, 100)):
        # Names of one archive are about as long as each other.
        more = BLOCK * len(sample) // max(sum(map(_weight, sample)), 1) - len(sample)
        yield sample + list(islice(remaining, max(more, 0)))


class _Walked(Sequence[T]):
    """A sequence that is made to be walked through; positions are found by walking."""

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: Any) -> Any:
        chosen = range(len(self))[index]
        if isinstance(chosen, int):
            return next(islice(iter(self), chosen, None))
        wanted = set(chosen)
        found = {at: item for at, item in enumerate(islice(iter(self), max(wanted, default=-1) + 1)) if at in wanted}
        return [found[at] for at in chosen]


class _Merged(_Walked[Row]):
    """The pieces of a sort as one sequence in order."""

    def __init__(self, pieces: Sequence[_Piece]) -> None:
        self._pieces = pieces
        self._rows = sum(piece.rows for piece in pieces)

    def __len__(self) -> int:
        return self._rows

    def __iter__(self) -> Iterator[Row]:
        """Merge: of the blocks at hand, all rows up to the smallest of their ends are next, whatever comes later."""
        walks = [iter(piece) for piece in self._pieces]
        heads = [next(walk) for walk in walks]
        while heads:
            bound = min(head[-1] for head in heads)
            cuts = [bisect_right(head, bound) for head in heads]
            # Sorting what is sorted in stretches is a merge, and faster than one row by row.
            yield from sorted(chain.from_iterable(head[:cut] for head, cut in zip(heads, cuts, strict=True)))
            rests = [head[cut:] or next(walk, []) for head, cut, walk in zip(heads, cuts, walks, strict=True)]
            walks = [walk for walk, rest in zip(walks, rests, strict=True) if rest]
            heads = [rest for rest in rests if rest]


class _Mapped(_Walked[T], Generic[T]):
    """What a function makes of each row of a sequence."""

    def __init__(self, rows: Sequence[Row], make: Callable[[Row], T]) -> None:
        self._rows, self._make = rows, make

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[T]:
        return map(self._make, self._rows)

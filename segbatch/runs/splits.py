"""Dividing tiles into train, val and test: by hash of a group, so that the same files always give the same parts."""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice, pairwise, repeat
from pathlib import Path

from segbatch.errors import InputError
from segbatch.runs.files import csv_line, file_digest, replacing
from segbatch.runs.listing import Listing
from segbatch.runs.sorting import Sorter, beside, ordered
from segbatch.runs.tiles import Tile
from segbatch.spec.data import PARTS, Group, Part, Split

DEFAULT_FRACTIONS: Mapping[Part, float] = {"train": 0.8, "val": 0.2}
SHOWN = 8
"""Values that a message names."""
Row = Mapping[str, str]
_PART: Mapping[str, Part] = {part: part for part in PARTS}
Place = tuple[str, str, str]
"""A tile's name, its group and its part."""


def group_of(name: str, row: Row | None, group: Group | None) -> str:
    """Name the group of a tile: what must stay together in one part.

    Raises:
        InputError: the pattern does not match the tile's path, or the path has too few folders.
    """
    if group is None:
        return name
    if group.column is not None:
        return (row or {}).get(group.column) or ""
    if group.folder is not None:
        folders = name.split("/")[:-1]
        if len(folders) < group.folder:
            raise InputError(
                f"data.split.group.folder: {name} lies in {len(folders)} folders, expected {group.folder}."
            )
        return "/".join(folders[: group.folder])
    match = re.search(group.pattern or "", name)
    if match is None:
        raise InputError(f"data.split.group.pattern: {group.pattern!r} does not match {name!r}.")
    return match[1] if match.re.groups else match[0]


def hash_fraction(group: str, seed: int) -> float:
    """Map a group to a number in [0, 1), the same on every machine.

    The first 53 bits of SHA-256 over the seed and the group: the most that a float holds exactly.
    """
    return _hash(group, seed) / 2**53


def hash_key(group: str, seed: int) -> str:
    """Write a group's `hash_fraction` as text that sorts as the number does."""
    return f"{_hash(group, seed):014x}"


def _hash(group: str, seed: int) -> int:
    payload = f"{seed}\0{group}".encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.sha256(payload).digest()[:8], "big") >> 11


def assigned(listing: Listing, split: Split) -> Iterator[tuple[Tile, str, Part]]:
    """Yield each tile with its group and part, in the order of the listing; those of no part are left out.

    Memory does not grow with the tiles.

    Raises:
        InputError: a group would lie in two parts, or a tile names none; at the end, if no value means a part.
    """
    if split.by == "hash":
        return _by_hash(listing, split)
    if split.by == "counts":
        return _by_counts(listing, split)
    return _by_name(listing, split)


def _grouped(listing: Listing, split: Split) -> Iterator[tuple[Tile, str, Row]]:
    """Yield each tile with its group and its row of the table."""
    rows: Iterable[Row] = listing.rows or repeat({})
    for tile, row in zip(listing.tiles, rows, strict=False):
        yield tile, group_of(tile.name, row, split.group), row


def _by_hash(listing: Listing, split: Split) -> Iterator[tuple[Tile, str, Part]]:
    fractions = split.fractions or DEFAULT_FRACTIONS
    bounds: list[tuple[float, Part]] = []
    upper = 0.0
    for part in PARTS:
        if fractions.get(part):
            upper += fractions[part]
            bounds.append((upper, part))
    last = bounds[-1][1]
    for tile, group, _ in _grouped(listing, split):
        position = hash_fraction(group, split.seed)
        yield tile, group, next((part for bound, part in bounds if position < bound), last)


def _by_counts(listing: Listing, split: Split) -> Iterator[tuple[Tile, str, Part]]:
    """Fill the parts in turn with whole groups in the order of their hash; a group that no longer fits goes on."""
    members = ordered((hash_key(group, split.seed), group, tile.name) for tile, group, _ in _grouped(listing, split))
    room = {part: (split.counts or {}).get(part, 0) for part in PARTS}
    chosen = Sorter()
    walk = iter(members)
    for (_, group), of_group in groupby(members, lambda row: row[:2]):
        size = sum(1 for _ in of_group)
        part = next((part for part in PARTS if room[part] >= size), None)
        for _, _, name in islice(walk, size):
            if part is not None:
                chosen.add((name, group, part))
        if part is not None:
            room[part] -= size
    short = {part: count for part, count in room.items() if count}
    if short and not split.group:
        wanted = sum((split.counts or {}).values())
        raise InputError(f"data.split.counts: they ask for {wanted} tiles, there are {len(listing.tiles)}.")
    tiles = ((tile.name, *tile.fields) for tile in listing.tiles)
    for row, found in beside(tiles, chosen.rows()):
        if found is not None:
            yield Tile(*row[1:]), found[1], _PART[found[2]]


def _by_name(listing: Listing, split: Split) -> Iterator[tuple[Tile, str, Part]]:
    named = split.parts or {part: (part,) for part in PARTS}
    meaning: dict[str, Part] = {value: part for part, values in named.items() for value in values}
    values: set[str] = set()
    found = False
    _no_group_in_two_parts(listing, split, meaning)
    for tile, group, row in _grouped(listing, split):
        value = _value(tile, row, split)
        if len(values) <= SHOWN:
            values.add(value)
        if value in meaning:
            found = True
            yield tile, group, meaning[value]
    if not found:
        where = f"column {split.column!r}" if split.by == "column" else "the first folders"
        raise InputError(
            f"data.split: {where} hold {_few(sorted(values))}, expected {_few(sorted(meaning))}. "
            "Say what they mean under `data.split.parts`."
        )


def _value(tile: Tile, row: Row, split: Split) -> str:
    """What a tile's part goes by."""
    if split.by == "column":
        return row.get(split.column) or ""
    return tile.name.split("/")[0] if "/" in tile.name else ""


def _few(values: Sequence[str]) -> str:
    shown = ", ".join(repr(value) for value in values[:SHOWN])
    return shown + (" and more" if len(values) > SHOWN else "")


def _no_group_in_two_parts(listing: Listing, split: Split, meaning: Mapping[str, Part]) -> None:
    if split.group is None:
        return
    values = ((tile.name, group, _value(tile, row, split)) for tile, group, row in _grouped(listing, split))
    members = ordered((group, name, meaning[value]) for name, group, value in values if value in meaning)
    for (group, first, other), (beside_it, name, part) in pairwise(members):
        if group == beside_it and part != other:
            raise InputError(
                f"data.split: group {group!r} would lie in two parts: {first} in {other}, {name} in {part}. "
                "Mend the table or folders, or split by hash of the group."
            )


def write_split(path: Path, places: Iterable[Place]) -> str:
    """Write `split.csv` (tile, group, part), sorted as the places are, and return its digest."""
    with replacing(path) as handle:
        handle.write(csv_line(("tile", "group", "part")))
        for place in places:
            handle.write(csv_line(place))
    return file_digest(path)


def read_split(path: Path) -> dict[str, tuple[str, str]]:
    """Read `split.csv`: tile -> (group, part)."""
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as handle:
        return {row["tile"]: (row["group"], row["part"]) for row in csv.DictReader(handle)}

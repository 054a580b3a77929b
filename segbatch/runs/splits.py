"""Dividing tiles into train, val and test: by hash of a group, so that the same files always give the same parts."""

from __future__ import annotations

import csv
import hashlib
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from segbatch.errors import InputError
from segbatch.runs.files import csv_line, digest, write_bytes
from segbatch.runs.listing import Listing, Row
from segbatch.spec.data import PARTS, Group, Part, Split

DEFAULT_FRACTIONS: Mapping[Part, float] = {"train": 0.8, "val": 0.2}
Assignment = Mapping[str, tuple[str, Part]]
"""Tile name -> (group, part); tiles that belong to no part are absent."""


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
    payload = f"{seed}\0{group}".encode("utf-8", "surrogateescape")
    return (int.from_bytes(hashlib.sha256(payload).digest()[:8], "big") >> 11) / 2**53


def assign(listing: Listing, split: Split) -> Assignment:
    """Give every tile its part.

    Raises:
        InputError: a column or folder holds an unknown value, or a group would lie in two parts.
    """
    groups = {tile.name: group_of(tile.name, listing.rows.get(tile.name), split.group) for tile in listing.tiles}
    parts: Mapping[str, Part]
    if split.by == "hash":
        parts = _by_hash(groups, split)
    elif split.by == "counts":
        parts = _by_counts(groups, split)
    else:
        parts = _by_name(listing, split)
    _no_group_in_two_parts(groups, parts)
    return {name: (groups[name], part) for name, part in parts.items()}


def _by_hash(groups: Mapping[str, str], split: Split) -> dict[str, Part]:
    fractions = split.fractions or DEFAULT_FRACTIONS
    bounds: list[tuple[float, Part]] = []
    upper = 0.0
    for part in PARTS:
        if fractions.get(part):
            upper += fractions[part]
            bounds.append((upper, part))
    last = bounds[-1][1]

    def part_of(group: str) -> Part:
        position = hash_fraction(group, split.seed)
        return next((part for bound, part in bounds if position < bound), last)

    return {name: part_of(group) for name, group in groups.items()}


def _by_counts(groups: Mapping[str, str], split: Split) -> dict[str, Part]:
    """Fill the parts in turn with whole groups in the order of their hash; a group that no longer fits goes on."""
    members: dict[str, list[str]] = defaultdict(list)
    for name, group in groups.items():
        members[group].append(name)
    room = {part: (split.counts or {}).get(part, 0) for part in PARTS}
    parts: dict[str, Part] = {}
    for group in sorted(members, key=lambda group: (hash_fraction(group, split.seed), group)):
        part = next((part for part in PARTS if room[part] >= len(members[group])), None)
        if part is not None:
            room[part] -= len(members[group])
            parts.update(dict.fromkeys(members[group], part))
    short = {part: count for part, count in room.items() if count}
    if short and not split.group:
        wanted = sum((split.counts or {}).values())
        raise InputError(f"data.split.counts: they ask for {wanted} tiles, there are {len(groups)}.")
    return parts


def _by_name(listing: Listing, split: Split) -> dict[str, Part]:
    named = split.parts or {part: (part,) for part in PARTS}
    meaning: dict[str, Part] = {value: part for part, values in named.items() for value in values}
    found: dict[str, Part] = {}
    values = set()
    for tile in listing.tiles:
        if split.by == "column":
            value = listing.rows[tile.name].get(split.column) or ""
        else:
            value = tile.name.split("/")[0] if "/" in tile.name else ""
        values.add(value)
        if value in meaning:
            found[tile.name] = meaning[value]
    if not found:
        where = f"column {split.column!r}" if split.by == "column" else "the first folders"
        raise InputError(
            f"data.split: {where} hold {_few(sorted(values))}, expected {_few(sorted(meaning))}. "
            "Say what they mean under `data.split.parts`."
        )
    return found


def _few(values: Sequence[str]) -> str:
    shown = ", ".join(repr(value) for value in values[:8])
    return shown + (f" and {len(values) - 8} more" if len(values) > 8 else "")


def _no_group_in_two_parts(groups: Mapping[str, str], parts: Mapping[str, Part]) -> None:
    seen: dict[str, tuple[str, Part]] = {}
    for name, part in parts.items():
        first, other = seen.setdefault(groups[name], (name, part))
        if other != part:
            raise InputError(
                f"data.split: group {groups[name]!r} would lie in two parts: {first} in {other}, {name} in {part}. "
                "Mend the table or folders, or split by hash of the group."
            )


def write_split(path: Path, assignment: Assignment) -> str:
    """Write `split.csv` (tile, group, part; sorted) and return its digest."""
    rows = [("tile", "group", "part"), *((name, *assignment[name]) for name in sorted(assignment))]
    data = b"".join(map(csv_line, rows))
    write_bytes(path, data)
    return digest(data)


def read_split(path: Path) -> dict[str, tuple[str, str]]:
    """Read `split.csv`: tile -> (group, part)."""
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as handle:
        return {row["tile"]: (row["group"], row["part"]) for row in csv.DictReader(handle)}

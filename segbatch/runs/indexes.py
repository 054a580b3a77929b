"""Indexes of an array as SLURM writes them: `2-5,8`, `0-10:2`, `0-9%4`."""

from __future__ import annotations

import re
from collections.abc import Iterable

_RANGE = re.compile(r"(\d+)(?:-(\d+))?(?::(\d+))?")
MOST = 4_194_304
"""SLURM's own bound of an array (MaxArraySize); a longer range is a damaged one."""


def expand_indexes(text: str) -> list[int]:
    """Return the indexes that a text means, in its order; the throttle after `%` is not one of them.

    Raises:
        ValueError: it is no list of indexes.
    """
    found: list[int] = []
    for part in text.partition("%")[0].strip("[] ").split(","):
        if part.strip() == "...":
            continue  # A list that an old client cut short.
        match = _RANGE.fullmatch(part.strip())
        if match is None:
            raise ValueError(f"expected indexes such as 0-3,7, received {text!r}")
        first, last, step = int(match[1]), int(match[2] or match[1]), int(match[3] or 1)
        if last - first > MOST or not step:
            raise ValueError(f"expected at most {MOST} indexes, received {text!r}")
        found += range(first, last + 1, step)
    return found


def compact_indexes(indexes: Iterable[int]) -> str:
    """Write indexes as SLURM takes them, ranges as such: [2, 3, 4, 8] is `2-4,8`."""
    parts: list[list[int]] = []
    for index in sorted(set(indexes)):
        if parts and index == parts[-1][-1] + 1:
            parts[-1][1:] = [index]
        else:
            parts.append([index])
    return ",".join("-".join(map(str, part)) for part in parts)

"""Figures as people say them."""

from __future__ import annotations


def duration(seconds: float | None) -> str:
    """Write a span of time as people say it: 42 s, 3 min 20 s, 5 h 12 min, 3 d 4 h."""
    if seconds is None:
        return "-"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 48 * 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def size(number: float) -> str:
    """Write a number of bytes as people say it: 512 B, 1.5 MB, 20 GB."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" or number >= 10 else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"

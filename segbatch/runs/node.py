"""The kind of a node: what figures measured on one machine say of another."""

from __future__ import annotations

import os
from pathlib import Path

_CPUS = Path("/proc/cpuinfo")
_GPUS = Path("/proc/driver/nvidia/gpus")


def node_kind() -> str:
    """Name this machine's processor, how many of them this process may use, and its NVIDIA GPUs."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return "; ".join([f"{_value(_CPUS, 'model name') or 'unknown processor'} x{usable}", *gpus()])


def gpus() -> list[str]:
    """Names of this machine's NVIDIA GPUs, as their driver tells them."""
    try:
        found = sorted(_GPUS.iterdir())
    except OSError:
        return []
    return [_value(folder / "information", "Model") or "unknown GPU" for folder in found]


def _value(path: Path, key: str) -> str:
    """Value of the first line `key : value`."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    return next(
        (" ".join(line.partition(":")[2].split()) for line in lines if line.partition(":")[0].strip() == key), ""
    )

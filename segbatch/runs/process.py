"""Telling whether a process that was started earlier still runs."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def process_identity(pid: int) -> dict[str, Any]:
    """Describe a process of this host so that a later process with the same number is not taken for it."""
    return {"host": socket.gethostname(), "pid": pid, "started": _start_ticks(pid)}


def _start_ticks(pid: int) -> int | None:
    """Start time in clock ticks since boot: field 22 of /proc/PID/stat; None where there is no /proc or process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def alive(identity: Mapping[str, Any]) -> bool | None:
    """Tell whether the process described by `process_identity` runs; None when it is on another host."""
    if identity.get("host") != socket.gethostname():
        return None
    pid = int(identity["pid"])
    if Path("/proc/self/stat").exists():
        ticks = _start_ticks(pid)
        return ticks is not None and ticks == identity.get("started")
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True

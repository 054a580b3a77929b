"""Ports that several test runs may choose at once."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

FIRST, LAST, BLOCK = 18000, 32000, 40
"""Under the range from which the kernel takes ports for outgoing connections (32768 and up)."""


@contextmanager
def port_block() -> Iterator[int]:
    """Give the first of `BLOCK` free ports, nobody else's among the users of this function until the end.

    The claim is an abstract socket: it lives where ports live, in the network namespace, for all users, and goes with
    the process that holds it.

    Raises:
        RuntimeError: all blocks are taken.

    """
    bases = range(FIRST, LAST, BLOCK)
    for turn in range(len(bases)):
        base = bases[(os.getpid() + turn) % len(bases)]
        with socket.socket(socket.AF_UNIX) as claim:
            try:
                claim.bind(f"\0segbatch-test-ports-{base}")
            except OSError:
                continue
            if all(_free(port) for port in range(base, base + BLOCK)):
                yield base
                return
    raise RuntimeError(f"no {BLOCK} free ports in a row between {FIRST} and {LAST}")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        # A connection that lingers after its end does not count, a listener does.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
    return True

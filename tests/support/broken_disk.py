"""A disk that lets a test step in between two changes of its names: to end the program, or to do something else."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

CHANGES = ("link", "rename", "replace", "mkdir", "rmdir", "unlink", "symlink", "chmod")


class CrashError(BaseException):
    """The program ends here; nothing that it still tries reaches the disk."""


@contextmanager
def steps(at: int, act: Callable[[], None] | None) -> Iterator[None]:
    """Before the change number `at` (from 0 on) of names on disk, call `act`, or crash where it is None."""
    count, dead, inside = 0, False, False

    def watched(change: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            nonlocal count, dead, inside
            if dead:
                raise CrashError
            if not inside:
                count += 1
                if count == at + 1:
                    if act is None:
                        dead = True
                        raise CrashError
                    inside = True
                    try:
                        act()
                    finally:
                        inside = False
            return change(*args, **options)

        return call

    with ExitStack() as stack:
        for name in CHANGES:
            stack.enter_context(patch.object(os, name, watched(getattr(os, name))))
        yield

"""What the C library's allocator is told before a program begins."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

_VARIABLE = "GLIBC_TUNABLES"
_HUGE_PAGES = "glibc.malloc.hugetlb"


def begin_with_huge_pages() -> None:
    """Start this program anew, once, with an allocator that asks for huge pages.

    A network gives back and takes the memory of its layers with every batch, and each small page is cleared again:
    where the kernel gives huge pages only to those who ask (`madvise`), half a million faults for 320 tiles by the
    MobileNetV2 U-Net, and 7 % of its time. glibc reads this before any code of ours runs (since 2.35; older ones
    ignore it).
    """
    known = os.environ.get(_VARIABLE, "")
    if sys.platform != "linux" or _HUGE_PAGES in known:
        return
    os.environ[_VARIABLE] = ":".join(filter(None, [known, f"{_HUGE_PAGES}=1"]))
    # Without them the work is the same, only slower.
    with suppress(OSError):
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])

"""TensorFlow on a login node: without GPUs, and without what it says of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def quiet_tensorflow() -> Iterator[None]:
    """Load TensorFlow inside: it finds no GPU, which small work does not need, and nothing reaches stderr meanwhile.

    Its libraries write past Python, so the file descriptor itself leads nowhere for as long.
    """
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)

"""Contents of files for the graph, where members of packs are among them."""

from __future__ import annotations

import os
from collections.abc import Iterable

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from segbatch.runs.packs import read_bytes, split_path

UNREADABLE = b"\0"
"""Stands for what cannot be read; no picture of any kind."""


def any_packed(paths: Iterable[bytes]) -> bool:
    """Tell whether one of the paths leads into a pack, which `tf.io.read_file` cannot follow."""
    return any(b".tar/" in path and split_path(os.fsdecode(path)) is not None for path in paths)


def read_contents(paths: tf.Tensor) -> tf.Tensor:
    """Read files and members of packs, one after the other, by Python.

    Given a batch of paths at once this costs half the processor time of `tf.io.read_file`, for members, which need not
    be opened; given them one by one, twice its time.

    Args:
        paths: string [n]; an empty one stands for nothing.

    Returns:
        string [n]: the contents, `UNREADABLE` where one cannot be read, empty where there is nothing to read.
    """
    return tf.ensure_shape(tf.numpy_function(_read_all, [paths], tf.string, stateful=False), paths.shape)


def _read_all(paths: NDArray[np.object_]) -> NDArray[np.object_]:
    return np.array([_read(path) if path else b"" for path in paths], object)


def _read(path: bytes) -> bytes:
    try:
        return read_bytes(os.fsdecode(path)) or UNREADABLE
    except OSError:
        return UNREADABLE

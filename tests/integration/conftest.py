"""Fixtures of the tests that train."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[bytes, bytes]]:
    """Paths of tiny images and their masks, for training and validation."""
    from tests.support.tiny_training import make_tiles

    return make_tiles(tmp_path_factory.mktemp("tiles"))


@pytest.fixture(scope="module")
def determinism_ends_here() -> Iterator[None]:
    """Trainings make TensorFlow deterministic for good; what is tested after them is not to be."""
    from tensorflow.python.framework import config

    yield
    config.disable_op_determinism()

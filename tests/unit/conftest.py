"""A fake SLURM for the tests of what talks to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from segbatch.cluster.slurm.client import Slurm
from tests.support.fake_slurm import FakeSlurm

SCRIPT = """#!/bin/bash
#SBATCH --array=0-3%2
#SBATCH --comment=segbatch:abc
#SBATCH --output=%A_%a.log
echo "$SLURM_ARRAY_TASK_ID"
exit "$SLURM_ARRAY_TASK_ID"
"""


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeSlurm]:
    """A fake SLURM; in its folder lies `s.sh`, an array of four tasks that end with their own numbers."""
    (tmp_path / "s.sh").write_text(SCRIPT)
    with FakeSlurm(tmp_path) as fake:
        yield fake


@pytest.fixture
def slurm(fake: FakeSlurm) -> Slurm:
    """Its client."""
    return Slurm(fake.environ, timeout_s=20)

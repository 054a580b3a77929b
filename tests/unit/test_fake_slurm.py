"""The fake SLURM, where the tests of everything else rest on it being like the real one."""

from __future__ import annotations

import os

from segbatch.cluster.slurm.client import Slurm
from tests.support.fake_slurm import FakeSlurm


def submitted(slurm: Slurm, fake: FakeSlurm) -> str:
    return slurm.submit("s.sh", fake.folder)[0]


def test_scripts_are_really_run(slurm: Slurm, fake: FakeSlurm) -> None:
    job = submitted(slurm, fake)
    assert [fake.run(job, index) for index in (0, 3)] == [0, 3]
    assert (fake.folder / f"{job}_3.log").read_text() == "3\n"
    assert [(row.index, row.state.name) for row in slurm.queue()] == [
        (0, "COMPLETED"),
        (1, "PENDING"),
        (2, "PENDING"),
        (3, "FAILED"),
    ]
    assert "SLURM_ARRAY_TASK_ID" not in os.environ


def test_rows_are_forgotten_as_by_the_real_one(slurm: Slurm, fake: FakeSlurm) -> None:
    job = submitted(slurm, fake)
    fake.start(job, 0)
    slurm.cancel([f"{job}_2"])
    assert [row.job for row in slurm.queue()] == [f"{job}_0", f"{job}_1", f"{job}_3"]
    slurm.cancel([job], pending_only=True)
    assert [(row.job, row.index, row.state.name) for row in slurm.queue()] == [
        (job, None, "CANCELLED"),
        (f"{job}_0", 0, "RUNNING"),
    ]


def test_the_last_task_keeps_the_arrays_id(slurm: Slurm, fake: FakeSlurm) -> None:
    job = submitted(slurm, fake)
    raw = [fake.start(job, index).raw for index in (3, 0, 2, 1)]
    assert raw[-1] == job
    assert len(set(raw)) == 4

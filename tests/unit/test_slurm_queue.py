"""How often the scheduler is asked, and what is known when it does not answer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from segbatch.cluster.slurm.client import Slurm
from segbatch.cluster.slurm.queue import FULL_EVERY, QueueView
from tests.support.fake_slurm import FakeSlurm

SCRIPT = "#!/bin/bash\n#SBATCH --array=0-2\n#SBATCH --comment=segbatch:abc\n"


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeSlurm]:
    (tmp_path / "s.sh").write_text(SCRIPT)
    with FakeSlurm(tmp_path) as fake:
        Slurm(fake.environ).submit("s.sh", tmp_path)
        yield fake


def view(fake: FakeSlurm, min_seconds: float = 30.0) -> QueueView:
    """As a new command would build it."""
    return QueueView(Slurm(fake.environ, timeout_s=2), min_seconds, fake.folder / "cache" / "segbatch")


def test_commands_share_one_answer(fake: FakeSlurm) -> None:
    fake.start("101", 1)
    fake.end("101", 1, "FAILED", code=137)
    first = view(fake).rows()
    second = view(fake).rows()
    assert first.rows == second.rows
    assert first.taken == second.taken
    assert [row.job for row in first.rows] == ["101_0", "101_1", "101_2"]
    assert second.rows[1].state.cause == "failed"
    assert fake.calls["squeue"] == 1
    assert not second.trouble


def test_an_old_answer_is_asked_anew(fake: FakeSlurm) -> None:
    view(fake, 1e-6).rows()
    fake.start("101", 0)
    assert view(fake, 1e-6).rows().rows[0].state.phase == "running"
    assert fake.calls["squeue"] == 2


def test_what_happened_since_is_not_in_an_answer_from_before(fake: FakeSlurm) -> None:
    first = view(fake)
    first.rows()
    now = time.time()
    fake.start("101", 0)
    snapshot = first.rows(not_before=now)
    assert snapshot.rows[0].state.phase == "running"
    assert snapshot.taken >= now
    assert view(fake).rows(not_before=now).taken == snapshot.taken
    assert fake.calls["squeue"] == 2


def test_one_command_sees_what_another_was_told(fake: FakeSlurm) -> None:
    watcher, other = view(fake), view(fake)
    watcher.rows()
    now = time.time()
    fake.start("101", 0)
    other.rows(not_before=now)
    assert watcher.rows(not_before=now).rows[0].state.phase == "running"
    assert fake.calls["squeue"] == 2


def test_trouble_is_told_with_what_was_known(fake: FakeSlurm) -> None:
    view(fake).rows()
    fake.controller = "down"
    now = time.time()
    snapshot = view(fake).rows(not_before=now)
    assert [row.job for row in snapshot.rows] == ["101_0", "101_1", "101_2"]
    assert snapshot.taken < now
    assert "Unable to contact slurm controller" in snapshot.trouble


def test_trouble_from_the_start(fake: FakeSlurm) -> None:
    fake.controller = "down"
    snapshot = view(fake).rows()
    assert (list(snapshot.rows), snapshot.taken) == ([], 0.0)
    assert "slurmctld does not answer" in snapshot.trouble


def test_a_silent_controller_is_not_asked_for_each_run(fake: FakeSlurm) -> None:
    fake.controller = "down"
    one = view(fake)
    one.rows()
    before = fake.calls["squeue"]
    assert one.rows().trouble
    assert fake.calls["squeue"] == before
    fake.controller = "up"
    assert not one.rows(not_before=time.time()).trouble


def test_rows_of_long_ago_are_not_shown_for_the_present(fake: FakeSlurm, monkeypatch: pytest.MonkeyPatch) -> None:
    view(fake).rows()
    fake.controller = "down"
    later = time.time() + 3600
    monkeypatch.setattr("segbatch.cluster.slurm.queue.time.time", lambda: later)
    assert list(view(fake).rows().rows) == []


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", b'{"taken": 9e9, "columns": [], "rows": [[1]]}', b"\xff", b"null"]
)
def test_a_broken_cache_is_no_harm(fake: FakeSlurm, content: bytes) -> None:
    view(fake).rows()
    (file,) = (fake.folder / "cache" / "segbatch").glob("queue-*")
    file.write_bytes(content)
    assert len(view(fake).rows().rows) == 3
    assert fake.calls["squeue"] == 2


def test_an_answer_from_the_future_is_not_believed(fake: FakeSlurm, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        later = time.time() + 3600
        patch.setattr("segbatch.cluster.slurm.queue.time.time", lambda: later)
        view(fake).rows()
    view(fake).rows()
    assert fake.calls["squeue"] == 2


def test_a_cache_that_cannot_be_written_is_done_without(fake: FakeSlurm) -> None:
    (fake.folder / "cache").write_text("a file")
    assert len(view(fake).rows().rows) == 3


def test_watchers_wait_longer_each_time_up_to_a_bound(fake: FakeSlurm) -> None:
    watcher = view(fake, 30.0)
    waits = [watcher.next_wait() for _ in range(12)]
    assert waits[:2] == [30.0, 45.0]
    assert all(after >= before for before, after in pairwise(waits))
    assert (min(waits), max(waits)) == (30.0, 300.0)


def test_unknown_states_pass_through_the_cache(fake: FakeSlurm) -> None:
    fake.task("101", 0).state = "WEIRD_NEW_STATE"
    view(fake).rows()
    row = view(fake).rows().rows[0]
    assert (row.state.name, row.state.phase) == ("WEIRD_NEW_STATE", "unknown")


def test_a_watcher_of_a_new_slurm_asks_for_states_alone_until_one_changes(fake: FakeSlurm) -> None:
    fake.version = "24.11.5"
    watcher = view(fake, 1e-6)
    first = watcher.rows()
    again = watcher.rows()
    assert again.rows == first.rows
    assert again.taken > first.taken
    assert fake.calls["squeue --only-job-state"] == 1
    fake.start("101", 0)
    assert watcher.rows().rows[0].state.phase == "running"
    whole = fake.calls["squeue"] - fake.calls["squeue --only-job-state"]
    assert whole == 2


def test_reasons_are_asked_for_now_and_then_though_no_state_changes(fake: FakeSlurm) -> None:
    fake.version = "24.11.5"
    watcher = view(fake, 1e-6)
    watcher.rows()
    for task in fake.jobs["101"].tasks.values():
        task.reason = "Resources"
    seen = [watcher.rows().rows[0].reason for _ in range(FULL_EVERY)]
    assert seen[0] != "Resources"
    assert seen[-1] == "Resources"


def test_a_new_submission_is_seen_though_nothing_else_changes(fake: FakeSlurm, tmp_path: Path) -> None:
    fake.version = "24.11.5"
    watcher = view(fake, 1e-6)
    watcher.rows()
    now = time.time()
    Slurm(fake.environ).submit("s.sh", tmp_path)
    assert len(watcher.rows(not_before=now).rows) == 6


def test_an_old_slurm_is_never_asked_what_it_does_not_know(fake: FakeSlurm) -> None:
    watcher = view(fake, 1e-6)
    for _ in range(3):
        assert len(watcher.rows().rows) == 3
    assert fake.calls["squeue"] == 3
    assert fake.calls["squeue --only-job-state"] == 0

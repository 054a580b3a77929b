"""The journal: what is in it is proven, what is torn is only work to do again."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segbatch.runs.journal import (
    JournalRow,
    JournalWriter,
    RejectionWriter,
    claim_attempt,
    read_journal,
    read_rejections,
    read_task,
)
from segbatch.runs.layout import TaskPaths

ROWS = st.lists(
    st.builds(
        JournalRow,
        st.integers(0, 10**9),
        st.integers(1, 70000),
        st.integers(1, 70000),
        st.integers(0, 10**9),
        st.integers(0, 2**32 - 1),
        st.sampled_from(["-", "", "0:0:5 1:2:7"]),
        st.sampled_from(["", "0:12 3:9"]),
    ),
    max_size=12,
)


def write(path: Path, rows: list[JournalRow]) -> None:
    writer = JournalWriter(path)
    writer.write(rows)
    writer.close()


@given(rows=ROWS, data=st.data())
def test_a_journal_cut_anywhere_gives_its_whole_rows(
    tmp_path_factory: pytest.TempPathFactory, rows: list[JournalRow], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal-1.csv"
    write(path, rows)
    assert list(read_journal(path)) == rows
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    assert list(read_journal(path)) == rows[: whole[:cut].count(b"\n")]


@given(rows=ROWS.filter(bool), data=st.data())
def test_a_damaged_byte_never_gives_a_row_that_was_not_written(
    tmp_path_factory: pytest.TempPathFactory, rows: list[JournalRow], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal-1.csv"
    write(path, rows)
    damaged = bytearray(path.read_bytes())
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(damaged)
    assert set(read_journal(path)) <= set(rows)


def test_attempts_never_share_a_number(tmp_path: Path) -> None:
    task = TaskPaths(tmp_path / "0")
    assert [claim_attempt(task) for _ in range(3)] == [1, 2, 3]
    task.journal(2).unlink()
    assert claim_attempt(task) == 4


def test_rows_of_overlapping_attempts_merge(tmp_path: Path) -> None:
    task = TaskPaths(tmp_path)
    write(task.journal(1), [JournalRow(0, 1, 1, 10, 1), JournalRow(1, 1, 1, 10, 1)])
    write(task.journal(2), [JournalRow(1, 1, 1, 10, 1), JournalRow(2, 1, 1, 10, 1)])
    write(task.journal(10), [JournalRow(2, 1, 1, 99, 9)])
    assert sorted(read_task(task)) == [0, 1, 2]
    assert read_task(task)[2].size == 99


def test_rejections_keep_any_name_and_skip_a_torn_line(tmp_path: Path) -> None:
    task = TaskPaths(tmp_path)
    claim_attempt(task)
    writer = RejectionWriter(task.rejected(1))
    writer.write(3, 'we"ird,\nname.jpg', "empty file")
    writer.write(4, "b.jpg", "truncated")
    with task.rejected(1).open("ab") as handle:
        handle.write(b"5,c.jp")
    assert read_rejections(task) == {3: ('we"ird,\nname.jpg', "empty file"), 4: ("b.jpg", "truncated")}

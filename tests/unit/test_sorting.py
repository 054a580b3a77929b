"""Sorting in bounded memory gives what sorting a list gives."""

from __future__ import annotations

import os
import tempfile
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segbatch.errors import SegbatchError
from segbatch.runs import sorting
from segbatch.runs.sorting import beside, mapped, ordered

FIELDS = st.one_of(st.text(max_size=6), st.binary(min_size=1, max_size=6).map(os.fsdecode))
ROWS = st.lists(st.tuples(FIELDS, FIELDS), max_size=60)


@given(rows=ROWS, piece=st.integers(1, 3000), block=st.integers(1, 1000))
def test_any_rows_come_in_order_however_small_the_pieces(rows: list[tuple[str, str]], piece: int, block: int) -> None:
    with mock.patch.multiple(sorting, PIECE=piece, BLOCK=block):
        found = ordered(rows)
    expected = sorted(rows)
    assert len(found) == len(rows)
    assert list(found) == expected
    assert list(found) == expected, "as often as wanted"
    assert list(found[1:5]) == expected[1:5]
    assert list(found[::-2]) == expected[::-2]
    if rows:
        assert (found[0], found[-1]) == (expected[0], expected[-1])
    assert list(mapped(found, "|".join)) == ["|".join(row) for row in expected]


@given(rows=ROWS, piece=st.integers(1, 500))
def test_several_walks_at_once_do_not_disturb_each_other(rows: list[tuple[str, str]], piece: int) -> None:
    with mock.patch.multiple(sorting, PIECE=piece, BLOCK=200):
        found = ordered(rows)
    assert list(zip(found, found, strict=True)) == [(row, row) for row in sorted(rows)]


@given(rows=ROWS, others=ROWS)
def test_each_row_finds_the_first_of_its_key(rows: list[tuple[str, str]], others: list[tuple[str, str]]) -> None:
    first: dict[str, tuple[str, str]] = {}
    for other in sorted(others):
        first.setdefault(other[0], other)
    assert list(beside(sorted(rows), sorted(others))) == [(row, first.get(row[0])) for row in sorted(rows)]


def test_a_full_disk_says_which_folder_to_change(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**named: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with (
        mock.patch.object(sorting, "PIECE", 1),
        pytest.raises(SegbatchError, match=r"No space left.*environment variable TMPDIR"),
    ):
        ordered([("a", "b")])

"""Files appear whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segbatch.runs.files import append_line, read_lines, replacing, write_json, write_text


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    write_json(path, {"a": 1})

    def fail_half_way() -> None:
        with replacing(path) as handle:
            handle.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert json.loads(path.read_text()) == {"a": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.json"]


def test_names_that_are_not_utf8_survive(tmp_path: Path) -> None:
    name = os.fsdecode(b"na\xefve")
    write_text(tmp_path / "names", name)
    assert (tmp_path / "names").read_bytes() == b"na\xefve"


@given(cut=st.integers(min_value=0, max_value=60))
def test_a_torn_last_line_costs_only_itself(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("lines") / "lines.jsonl"
    for number in range(3):
        append_line(path, {"number": number, "text": "a\nb"})
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - cut])
    numbers = [line["number"] for line in read_lines(path)]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) >= 3 - 1 - cut // (len(whole) // 3)


def test_a_line_after_a_torn_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b'{"number":1}\n{"num')
    append_line(path, {"number": 2})
    assert [line["number"] for line in read_lines(path)] == [1, 2]


def test_the_longest_names_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("影" * 80 + ".png")
    write_text(path, "x")
    assert path.read_text() == "x"


def test_a_missing_file_has_no_lines(tmp_path: Path) -> None:
    assert read_lines(tmp_path / "none") == []

"""Programs that begin anew with huge pages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """\
import json, os, sys
from segbatch.runs.allocator import begin_with_huge_pages
print(json.dumps([os.getpid(), sys.argv[1:], os.environ.get("GLIBC_TUNABLES")]), flush=True)
begin_with_huge_pages()
"""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, "glibc.malloc.hugetlb=1"),
        ("glibc.malloc.arena_max=2", "glibc.malloc.arena_max=2:glibc.malloc.hugetlb=1"),
        ("glibc.malloc.hugetlb=0", None),
    ],
    ids=["none before", "others before", "said otherwise"],
)
def test_once_and_as_the_same_process(tmp_path: Path, repo: Path, before: str | None, after: str | None) -> None:
    program, words = tmp_path / "a program.py", ["with spaces", "--task", "1,2\n3"]
    program.write_text(PROGRAM)
    environ = {**os.environ, "PYTHONPATH": str(repo)}
    environ.pop("GLIBC_TUNABLES", None)
    if before is not None:
        environ["GLIBC_TUNABLES"] = before
    done = subprocess.run(
        [sys.executable, str(program), *words], env=environ, capture_output=True, text=True, check=True, timeout=60
    )
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line[2] for line in told] == [before] + [after] * (after is not None)
    assert {line[0] for line in told} == {told[0][0]}
    assert all(line[1] == words for line in told)

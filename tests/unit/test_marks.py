"""What a task that ended well vouches for is not read again, and nothing else is taken on trust."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segbatch.errors import Exit, SegbatchError
from segbatch.evaluation.finish import finish
from segbatch.runs.journal import JournalRow, JournalWriter
from segbatch.runs.marks import read_mark
from segbatch.runs.masks import mask_path
from segbatch.runs.outputs import checked_tiles, missing_tiles, unfinished, verify_marks
from segbatch.runs.recut import recut
from segbatch.runs.run import Run
from segbatch.runs.tiles import read_tiles
from tests.support import made_attempts


def do(run: Run, task: int, indexes: Iterable[int], *, bad: Sequence[int] = (), ends: bool = True) -> None:
    """One attempt, which comes to its end unless it is said otherwise."""
    made_attempts.do(run, task, indexes, bad, ends=ends)


def lose(run: Run, index: int) -> None:
    tiles = dict(enumerate(read_tiles(run.paths.tiles)))
    mask_path(run, index, tiles[index]).unlink(missing_ok=True)


def end(run: Run) -> Exit:
    try:
        return Exit(finish(run, lambda line: None))
    except SegbatchError as error:
        return error.exit_code


def reads(run: Run, monkeypatch: pytest.MonkeyPatch, call: Callable[[], object]) -> list[str]:
    """Names of the run's files that a call opens."""
    opened: list[str] = []
    plain = Path.open

    def watched(self: Path, *arguments: object, **named: object) -> object:
        opened.append(self.name)
        return plain(self, *arguments, **named)  # type: ignore[call-overload]

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", watched)
        patch.setattr(Path, "read_bytes", lambda self: watched(self, "rb").read())  # type: ignore[attr-defined]
        call()
    return opened


def test_resuming_reads_nothing_of_tasks_that_ended_well_but_their_marks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = made_attempts.predict_run(tmp_path, batch=1, tiles=40, tasks=8)
    for task in range(8):
        do(run, task, list(run.shard(task).indexes)[: 2 if task == 3 else 5], ends=task != 3)
    files = reads(run, monkeypatch, lambda: (unfinished(run), list(missing_tiles(run))))
    assert (unfinished(run), list(missing_tiles(run))) == ([3], [17, 18, 19])
    assert files.count("proven.json") <= 3 * 8
    assert files.count("journal-1.csv") <= 2
    assert {name for name in files if name.endswith(".png")} == {'015".png', "016.png"}
    do(run, 3, [17, 18, 19])
    assert unfinished(run) == []
    assert not [name for name in reads(run, monkeypatch, lambda: end(run)) if name.endswith(".png")]


def test_a_lost_mask_is_found_when_one_looks(tmp_path: Path) -> None:
    run = made_attempts.predict_run(tmp_path, batch=1, tiles=12, tasks=3)
    for task in range(3):
        do(run, task, run.shard(task).indexes)
    lose(run, 5)
    assert unfinished(run) == []
    assert verify_marks(run) == 1
    assert unfinished(run) == [1]
    assert list(missing_tiles(run)) == [5]
    assert [read_mark(run.paths.task(task)) is None for task in range(3)] == [False, True, False]
    do(run, 1, [5])
    assert (verify_marks(run), unfinished(run), end(run)) == (0, [], Exit.OK)


def test_rejected_tiles_are_done_again_and_only_they(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = made_attempts.predict_run(tmp_path, batch=1, tiles=10, tasks=2)
    for task in range(2):
        do(run, task, run.shard(task).indexes, bad=[1, 7][task : task + 1])
    assert end(run) == Exit.REJECTED
    assert unfinished(run) == [0, 1]
    files = reads(run, monkeypatch, lambda: unfinished(run))
    assert not [name for name in files if name.endswith(".png")]
    do(run, 0, [1])
    do(run, 1, [7], bad=[7])
    assert unfinished(run) == [1]
    assert list(missing_tiles(run)) == [7]


def test_what_a_later_attempt_touched_is_looked_at_again(tmp_path: Path) -> None:
    """Two attempts at once: the first ended well, the second wrote over its masks, and its node lost power."""
    run = made_attempts.predict_run(tmp_path, batch=1, tiles=6, tasks=1)
    do(run, 0, range(6), bad=[])
    do(run, 0, [2, 3], ends=False)
    lose(run, 2)
    lose(run, 5)
    assert list(missing_tiles(run)) == [2], "nobody touched 5, which is vouched for"
    assert verify_marks(run) == 1


def test_rows_that_tell_of_different_masks_are_settled_by_the_file(tmp_path: Path) -> None:
    """A task came back from the dead after its tiles had been cut anew, and made another mask."""
    run = made_attempts.predict_run(tmp_path, batch=1, tiles=3, tasks=1)
    do(run, 0, [0], ends=False)
    run = recut(run, 1).run
    do(run, 1, [1, 2])
    writer = JournalWriter(run.paths.task(0).journal(1))
    writer.write([JournalRow(1, 2, 3, 99, 99)])
    writer.close()
    assert [row.size for _, _, row in checked_tiles(run, trust=True) if row is not None] == [6, 6, 6]


@pytest.mark.parametrize("damage", ["", "{", '{"attempt": 1}', '{"attempt":1,"first":0,"count":6,"missing":"x"}'])
def test_a_damaged_mark_vouches_for_nothing(tmp_path: Path, damage: str) -> None:
    run = made_attempts.predict_run(tmp_path, batch=1, tiles=6, tasks=1)
    do(run, 0, range(6))
    run.paths.task(0).mark.write_text(damage)
    lose(run, 0)
    assert unfinished(run) == [0]


@settings(max_examples=15)
@given(data=st.data())
def test_no_interruption_leaves_a_tile_undone(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Masks are lost only as a dying node loses them: those of attempts that did not come to their end."""
    tiles = data.draw(st.integers(1, 20))
    run = made_attempts.predict_run(
        tmp_path_factory.mktemp("world"), tiles, tasks=data.draw(st.integers(1, 5)), batch=1
    )
    for _ in range(data.draw(st.integers(0, 5))):
        if data.draw(st.booleans()):
            run = recut(run, data.draw(st.integers(1, 4))).run
        task = data.draw(st.sampled_from(list(run.current_tasks)))
        to_do = [index for index, _, row in checked_tiles(run, task, trust=True) if row is None]
        if data.draw(st.booleans()):
            do(run, task, to_do)
        else:
            some = to_do[: data.draw(st.integers(0, len(to_do)))]
            do(run, task, some, ends=False)
            for index in some:
                if data.draw(st.booleans()):
                    lose(run, index)
    for task in unfinished(run):
        do(run, task, [index for index, _, row in checked_tiles(run, task, trust=True) if row is None])
    assert unfinished(run) == []
    assert end(run) == Exit.OK
    assert all(row is not None for _, _, row in checked_tiles(run)), "and every file bears it out"

"""Cutting what is missing anew: nothing is lost, nothing done twice, and the outcome does not show it."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segbatch.errors import Exit, InputError, SegbatchError
from segbatch.evaluation.finish import finish
from segbatch.runs import recut as recut_module
from segbatch.runs.cuts import Cut, record_cut
from segbatch.runs.masks import mask_path
from segbatch.runs.outputs import checked_tiles, unfinished
from segbatch.runs.progress import TaskProgress
from segbatch.runs.recut import recut, share_out
from segbatch.runs.run import Run, open_run
from segbatch.runs.status import run_status
from segbatch.runs.tiles import Tile, line_starts, read_tiles
from tests.support.labels import TWO_CLASSES
from tests.support.made_attempts import do, predict_run
from tests.support.worlds import make_run, make_tiles, outputs


def quiet(line: str) -> None:
    """A log that nobody reads."""


def missing(run: Run) -> list[int]:
    return [index for index, _, row in checked_tiles(run) if row is None]


def end(run: Run) -> Exit:
    """Merge, as the finishing task does."""
    try:
        return Exit(finish(run, quiet))
    except SegbatchError as error:
        return error.exit_code


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[range], list[int], int, int]:
    """Parts of a tile list, the missing tiles, a number of tasks and a batch size."""
    batch = draw(st.integers(1, 5))
    lengths = draw(st.lists(st.integers(1, 6), min_size=1, max_size=8))
    tiles = sum(lengths) * batch - draw(st.integers(0, batch - 1))
    starts = [sum(lengths[:number]) * batch for number in range(len(lengths))]
    parts = [range(start, min(start + length * batch, tiles)) for start, length in zip(starts, lengths, strict=True)]
    lost = sorted(draw(st.sets(st.integers(0, tiles - 1))))
    return draw(st.permutations(parts)), lost, draw(st.integers(1, 12)), batch


@given(world=worlds())
def test_a_cut_holds_all_that_is_missing_in_equal_amounts(world: tuple[list[range], list[int], int, int]) -> None:
    parts, lost, tasks, batch = world
    ranges = share_out(parts, lost, tasks, batch)
    tiles = max(part.stop for part in parts)
    to_do = [len({index // batch for index in lost if index in found}) for found in ranges]
    assert sum(to_do) == len({index // batch for index in lost})
    assert len(ranges) == min(tasks, sum(to_do))
    assert all(amount >= 1 for amount in to_do)
    assert not to_do or max(to_do) - min(to_do) <= 1
    assert all(found.start % batch == 0 and (found.stop % batch == 0 or found.stop == tiles) for found in ranges)
    assert all(before.stop <= after.start for before, after in pairwise(ranges))
    covered = {index for found in ranges for index in found}
    assert all(covered.isdisjoint(part) or covered.issuperset(part) for part in parts)


@given(
    tiles=st.integers(1, 40),
    batch=st.integers(1, 4),
    tasks=st.integers(1, 4),
    rounds=st.lists(st.tuples(st.integers(1, 7), st.floats(0, 1)), max_size=4),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=12)
def test_any_cuts_and_interruptions_end_as_one_undisturbed_run(
    tmp_path_factory: pytest.TempPathFactory,
    tiles: int,
    batch: int,
    tasks: int,
    rounds: list[tuple[int, float]],
    seed: int,
) -> None:
    root, chance = tmp_path_factory.mktemp("world"), random.Random(seed)
    bad = chance.sample(range(tiles), k=min(tiles - 1, chance.choice([0, 0, 2])))
    run = predict_run(root, tiles, tasks=tasks, batch=batch)
    for number, share in rounds:
        for task in run.tasks:
            # Also of tasks that were replaced: they may come back from the dead.
            some = [index for index in run.shard(task).indexes if chance.random() < share]
            do(run, task, some, bad)
        for index, tile in enumerate(read_tiles(run.paths.tiles)):
            if chance.random() < 0.1:
                mask_path(run, index, tile).unlink(missing_ok=True)
        lost = missing(run)
        made = recut(run, number)
        run = open_run(run.paths.folder)
        assert made.missing == len(lost)
        assert made.run.current_tasks == run.current_tasks
        held = [index for task in run.current_tasks for index in run.shard(task).indexes]
        assert sorted(held) == list(range(tiles))
        assert [list(read_tiles(run.paths.tiles, run.shard(task))) for task in made.tasks] == [
            list(read_tiles(run.paths.tiles))[run.shard(task).first : run.shard(task).stop] for task in made.tasks
        ]
        status = run_status(run)
        assert (sum(task.total for task in status.tasks), status.total) == (tiles, tiles)
        assert [run.kept(task) for task in made.tasks] == [
            sum(index not in lost for index in run.shard(task).indexes) for task in made.tasks
        ]
        assert set(unfinished(run)) == set(made.tasks)
        if lost:
            assert end(run) in (Exit.FAILED, Exit.REJECTED)
    for task in unfinished(run):
        do(run, task, [index for index, _, row in checked_tiles(run, task) if row is None], bad)
    alone = predict_run(root, tiles, batch=batch)
    do(alone, 0, range(tiles), bad)
    assert end(run) == end(alone) == (Exit.REJECTED if bad else Exit.OK)
    assert outputs(run) == outputs(alone)


def test_the_status_counts_every_tile_once(tmp_path: Path) -> None:
    """Two tasks of 20 tiles; one is done, the other stopped after 8 and is cut into three."""
    run = predict_run(tmp_path, 40, tasks=2)
    do(run, 0, range(20))
    do(run, 1, range(20, 28))
    for task, done in ((0, 20), (1, 8)):
        TaskProgress(run.paths.task(task).progress, 20).update(done, force=True)
    assert (run_status(run).done, run_status(run).total) == (28, 40)
    made = recut(run, 3)
    assert (made.tasks, made.missing, made.batches) == (range(2, 5), 12, 3)
    status = run_status(made.run)
    assert [(task.name, task.state, task.done, task.total) for task in status.tasks] == [
        ("0", "pending", 20, 20),
        ("2", "pending", 8, 12),
        ("3", "pending", 0, 4),
        ("4", "pending", 0, 4),
    ]
    assert (status.as_dict()["done"], status.as_dict()["total"]) == (28, 40)
    assert unfinished(made.run) == [2, 3, 4]
    assert unfinished(made.run, [0, 4]) == [4]


def test_fewer_batches_than_tasks_give_fewer_tasks(tmp_path: Path) -> None:
    run = predict_run(tmp_path, 10)
    do(run, 0, [0, 1, 2, 3, 5, 6, 7])
    made = recut(run, 5)
    assert (len(made.tasks), made.missing, made.batches, made.batch_tiles) == (2, 3, 2, 4)
    assert [made.run.shard(task).indexes for task in made.tasks] == [range(8), range(8, 10)]


def test_nothing_missing_is_no_cut(tmp_path: Path) -> None:
    run = predict_run(tmp_path, 6)
    do(run, 0, range(6))
    made = recut(run, 3)
    assert (made.run, len(made.tasks)) == (run, 0)
    assert not run.paths.cuts.exists()


def test_a_tile_proven_by_any_task_is_not_rejected(tmp_path: Path) -> None:
    """A task that was replaced rejected what its successor then read, and the other way round."""
    run = predict_run(tmp_path, 8)
    do(run, 0, range(4), bad=[0, 1])
    run = recut(run, 2).run
    do(run, 1, range(4), bad=[1, 2])
    do(run, 2, range(4, 8))
    do(run, 0, [5], bad=[5])
    assert end(run) == Exit.REJECTED
    rejected = (run.paths.report / "rejected.csv").read_text().splitlines()
    assert rejected[1:] == ['"001 a,b.png",cannot be read']


def test_each_journal_is_read_about_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often the run was cut: time must not grow with tasks times tasks."""
    run = predict_run(tmp_path, 120, tasks=30, batch=1)
    for tasks in (40, 50):
        do(run, run.current_tasks[0], run.shard(run.current_tasks[0]).indexes)
        run = recut(run, tasks).run
    for task in unfinished(run):
        do(run, task, run.shard(task).indexes)
    opened: list[Path] = []
    read = Path.open

    def watched(self: Path, *arguments: object, **named: object) -> object:
        opened.extend([self] if self.name.startswith("journal-") else [])
        return read(self, *arguments, **named)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", watched)
    assert unfinished(run) == []
    assert end(run) == Exit.OK
    assert 0 < len(opened) <= 2 * len(list(run.paths.folder.rglob("journal-*.csv")))


def cut_meanwhile(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have another command cut the run just before this one's line is written."""
    theirs = Cut(time=1.0, first_task=1, shards=((0, 8, 0),), kept=(0,))

    def late(paths: object, cut: Cut) -> None:
        record_cut(run.paths, theirs)
        record_cut(run.paths, cut)

    monkeypatch.setattr(recut_module, "record_cut", late)


def test_of_two_cuts_at_once_the_first_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = predict_run(tmp_path, 8)
    cut_meanwhile(run, monkeypatch)
    with pytest.raises(SegbatchError, match="by another command"):
        recut(run, 2)
    assert open_run(run.paths.folder).current_tasks == (1,)


def torn(text: str) -> str:
    return text + '{"time":1,"first_ta'


def lost(text: str) -> str:
    return "\n".join(text.splitlines()[1:]) + "\n"


def foreign(text: str) -> str:
    return text + '{"first_task":9}\n'


@pytest.mark.parametrize(("damage", "message"), [(torn, ""), (lost, "a line was lost"), (foreign, "not cuts of a run")])
def test_damaged_cuts_are_named_and_a_torn_line_is_none(
    tmp_path: Path, damage: Callable[[str], str], message: str
) -> None:
    run = predict_run(tmp_path, 16)
    run = recut(recut(run, 2).run, 3).run
    run.paths.cuts.write_text(damage(run.paths.cuts.read_text()))
    again = open_run(run.paths.folder)
    if message:
        with pytest.raises(InputError, match=message):
            _ = again.tasks
        return
    assert again.current_tasks == (3, 4, 5)
    assert len(recut(again, 4).run.tasks) == 10


def test_a_train_run_is_not_cut(tmp_path: Path) -> None:
    make_tiles(tmp_path, 4)
    data = {"root": str(tmp_path), "images": "images", "masks": "masks"}
    run = make_run(tmp_path, "train", data, labels=TWO_CLASSES.model_dump())
    with pytest.raises(InputError, match="expected a predict or evaluate run for --tasks, received a train run"):
        recut(run, 2)
    assert not run.paths.cuts.exists()


def test_a_task_that_does_not_exist_is_named(tmp_path: Path) -> None:
    run = predict_run(tmp_path, 8, tasks=2)
    with pytest.raises(InputError, match=r"no task 2\. Expected a number from 0 to 1"):
        run.shard(2)


@given(names=st.lists(st.text("ab,\"\n\r 'é", min_size=1, max_size=6), max_size=12, unique=True))
def test_lines_begin_where_the_tiles_are(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    from segbatch.runs.tiles import write_tiles

    path = tmp_path_factory.mktemp("tiles") / "tiles.csv"
    shards = write_tiles(path, map(Tile, names), 1)
    assert list(line_starts(path)) == [shard.offset for shard in shards]

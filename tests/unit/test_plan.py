"""Planning writes nothing; creating writes a run that opens again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from segbatch.errors import InputError
from segbatch.runs.creation import create_run
from segbatch.runs.layout import run_folders
from segbatch.runs.plan import make_plan
from segbatch.runs.run import find_run, open_run
from segbatch.runs.splits import read_split
from segbatch.runs.tiles import read_tiles
from segbatch.spec.bundle import BundleInfo
from segbatch.spec.job import KINDS, Job
from tests.support.labels import TWO_CLASSES


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def world(root: Path, count: int = 10) -> Path:
    touch(root, *(f"images/{number:03}.jpg" for number in range(count)))
    touch(root, *(f"masks/{number:03}.png" for number in range(count)))
    return root


def bundle(root: Path) -> Path:
    folder = root / "model"
    folder.mkdir()
    (folder / "model.keras").write_bytes(b"weights")
    info = BundleInfo(name="net", labels=TWO_CLASSES, head="binary", input=(32, 32))
    (folder / "bundle.json").write_text(info.model_dump_json())
    return folder


def job(kind: str, root: Path, **sections: Any) -> Job:
    data = {"root": str(root), "images": "images", "masks": "masks"} | sections.pop("data", {})
    extra: dict[str, Any] = {} if kind == "predict" else {"labels": TWO_CLASSES.model_dump()}
    return KINDS[kind].model_validate({"kind": kind, "name": "night", "data": data} | extra | sections)


def test_planning_writes_nothing(tmp_path: Path) -> None:
    world(tmp_path / "data")
    plan = make_plan(job("train", tmp_path / "data"), tmp_path / "job.yaml", runs_root=tmp_path / "runs")
    assert plan.tasks == 1
    assert not (tmp_path / "runs").exists()


def test_a_run_opens_as_it_was_made(tmp_path: Path) -> None:
    world(tmp_path / "data")
    split = {"split": {"by": "counts", "counts": {"train": 6, "val": 3, "test": 1}}}
    asked = job("train", tmp_path / "data", data=split, resources={"memory": "2G"})
    run = create_run(make_plan(asked, tmp_path / "job.yaml", runs_root=tmp_path / "runs"))
    again = open_run(run.paths.folder)
    assert again.job == asked
    assert again.record == run.record
    parts = [part for _, part in read_split(again.paths.split).values()]
    assert {part: parts.count(part) for part in set(parts)} == {"train": 6, "val": 3, "test": 1}
    assert len(list(read_tiles(again.paths.tiles))) == 9, "the test part is not seen in training"
    assert set(run.record.digests) == {"job", "code", "tiles", "split"}


def test_shards_hold_whole_batches(tmp_path: Path) -> None:
    """Else a tile's batch, and with it the last bits of its scores, would depend on how work is cut up."""
    world(tmp_path / "data", 50)
    predict = {"tasks": 4, "batch_size": 8}
    asked = job("predict", tmp_path / "data", model=str(bundle(tmp_path)), predict=predict)
    run = create_run(make_plan(asked, tmp_path / "job.yaml", runs_root=tmp_path / "runs"))
    assert [run.shard(task).count for task in run.tasks] == [16, 16, 16, 2]
    assert [tile.image for tile in read_tiles(run.paths.tiles, run.shard(3))] == ["048.jpg", "049.jpg"]


def test_latest_points_to_the_newest_run(tmp_path: Path) -> None:
    world(tmp_path / "data")
    plan = make_plan(job("train", tmp_path / "data"), tmp_path / "job.yaml", runs_root=tmp_path / "runs")
    first, second = create_run(plan), create_run(plan)
    assert (tmp_path / "runs/night/latest").resolve() == second.paths.folder
    found = list(run_folders(tmp_path / "runs"))
    assert sorted(found) == sorted([first.paths.folder, second.paths.folder])


def test_runs_are_found_by_folder_job_and_id(tmp_path: Path) -> None:
    world(tmp_path / "data")
    root = tmp_path / "runs"
    run = create_run(make_plan(job("train", tmp_path / "data"), tmp_path / "job.yaml", runs_root=root))
    for name in (str(run.paths.folder), "night", "night/latest", run.record.id, run.label):
        assert find_run(name, root).record.id == run.record.id
    with pytest.raises(InputError, match=r"'day': no such run.*Jobs with runs there: night"):
        find_run("day", root)


def test_twins_are_refused_by_name(tmp_path: Path) -> None:
    world(tmp_path / "data")
    touch(tmp_path / "data", "images/003.png")
    with pytest.raises(InputError, match=r"003\.jpg and 003\.png"):
        make_plan(
            job("predict", tmp_path / "data", model=str(bundle(tmp_path))),
            tmp_path / "job.yaml",
            runs_root=tmp_path,
        )


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "model.keras").unlink(), r"no model\.keras"),
        (lambda folder: (folder / "bundle.json").write_text("{"), "not a bundle of version 1"),
        (lambda folder: folder.rename(folder.with_name("gone")), "no such bundle folder"),
    ],
)
def test_a_bundle_that_is_none_is_refused(tmp_path: Path, spoil: Any, message: str) -> None:
    world(tmp_path / "data")
    folder = bundle(tmp_path)
    spoil(folder)
    with pytest.raises(InputError, match=message):
        make_plan(job("predict", tmp_path / "data", model=str(folder)), tmp_path / "j.yaml", runs_root=tmp_path)


def test_a_part_of_the_split_is_predicted(tmp_path: Path) -> None:
    world(tmp_path / "data", 40)
    chosen = {"split": {"by": "counts", "counts": {"train": 30, "val": 10}}, "part": "val", "limit": 4}
    plan = make_plan(
        job("predict", tmp_path / "data", model=str(bundle(tmp_path)), data=chosen),
        tmp_path / "job.yaml",
        runs_root=tmp_path,
    )
    train = make_plan(job("train", tmp_path / "data", data={"split": chosen["split"]}), tmp_path, runs_root=tmp_path)
    assert len(plan.tiles) == 4
    parts = {name: part for name, _, part in train.split or ()}
    assert all(parts[tile.name] == "val" for tile in plan.tiles)


@pytest.mark.parametrize("limit", [None, 3])
def test_the_parts_of_a_plan_hold_their_tiles(tmp_path: Path, limit: int | None) -> None:
    world(tmp_path / "data", 40)
    chosen = {"split": {"by": "counts", "counts": {"train": 20, "val": 10, "test": 5}}, "limit": limit}
    asked = job("train", tmp_path / "data", data=chosen)
    plan = make_plan(asked, tmp_path / "job.yaml", runs_root=tmp_path)
    sizes = {"train": limit or 20, "val": limit or 10, "test": limit or 5}
    assert plan.part_sizes() == sizes
    assert len(plan.tiles) == sizes["train"] + sizes["val"]
    parts = {name: part for name, _, part in plan.split or ()}
    found = [tile for part in ("train", "val") for tile in plan.tiles_in(part)]
    assert [parts[tile.name] for tile in found] == ["train"] * sizes["train"] + ["val"] * sizes["val"]
    assert sorted(found) == list(plan.tiles)


def test_a_run_of_a_later_version_is_refused(tmp_path: Path) -> None:
    world(tmp_path / "data")
    plan = make_plan(job("train", tmp_path / "data"), tmp_path / "job.yaml", runs_root=tmp_path / "runs")
    run = create_run(plan)
    record = json.loads(run.paths.record.read_text())
    run.paths.record.write_text(json.dumps(record | {"schema_version": 2}))
    with pytest.raises(InputError, match="not a run of version 1"):
        open_run(run.paths.folder)

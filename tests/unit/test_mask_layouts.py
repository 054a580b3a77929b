"""Where masks go, in each layout: killed at any moment and resumed, the bytes are those of an undisturbed run."""

from __future__ import annotations

import csv
import multiprocessing
import random
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from segbatch.runs import mask_archives, packs
from segbatch.runs.creation import create_run
from segbatch.runs.journal import read_task
from segbatch.runs.listing import find_files
from segbatch.runs.mask_archives import collect, discard
from segbatch.runs.masks import mask_file, with_table
from segbatch.runs.outputs import checked_tiles
from segbatch.runs.plan import Plan
from segbatch.runs.run import Run
from segbatch.runs.tiles import Tile
from segbatch.spec.inference import Predict
from segbatch.spec.job import KINDS
from tests.support.labels import TWO_CLASSES
from tests.support.mask_task import REJECTED, main, mask_of

LAYOUTS = ("mirror", "sharded", "tar")
NAMES = ["quo\"te'd, comma.jpg", "line\nbreak.jpg", "ünï/日本.jpg", "a.b.jpg", "a.jpg", "a.jpg.k.jpg"]


def make_run(root: Path, layout: str, count: int = 300, tasks: int = 1) -> Run:
    settings = {"layout": layout, "batch_size": 1, "tasks": tasks}
    data = {"images": "images"}
    job = KINDS["predict"].model_validate(
        {"kind": "predict", "name": "masks", "data": data, "model": "m", "predict": settings}
    )
    images = sorted([*NAMES, *(f"{n % 7}/tile {n}.jpg" for n in range(count - len(NAMES)))])
    plan = Plan(
        job=job,
        job_file=root / "job.yaml",
        labels=TWO_CLASSES,
        tiles=[Tile(image) for image in images],
        split=None,
        shard_size=-(-count // tasks),
        images_root=str(root / "images"),
        masks_root="",
        predictions_root="",
        bundle=None,
        runs_root=root / "runs",
        site={},
    )
    return create_run(plan)


def finished(run: Run) -> dict[str, bytes]:
    """What the finishing task leaves: masks, and the table that says where they lie."""
    run.paths.report.mkdir(exist_ok=True)
    collect(run, lambda line: None)
    missing = [index for index, _, row in with_table(run, checked_tiles(run)) if row is None]
    assert missing == list(range(0, run.record.tiles, REJECTED))
    discard(run)
    found = [*run.paths.masks.rglob("*"), *run.paths.report.rglob("*")]
    return {str(path.relative_to(run.paths.folder)): path.read_bytes() for path in found if path.is_file()}


def masks_of(run: Run) -> dict[str, bytes]:
    """Masks by tile, as the run's own table tells a user."""
    with run.paths.mask_table.open(newline="", encoding="utf-8") as table:
        places = {row["tile"]: row["mask"] for row in csv.DictReader(table)}
    return {tile: packs.read_bytes(run.paths.masks / place) for tile, place in places.items()}


@pytest.fixture(autouse=True)
def small_archives(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (mask_archives, sys.modules["segbatch.runs.masks"]):
        monkeypatch.setattr(module, "ARCHIVE_TILES", 100)


def attempt(run: Run) -> multiprocessing.context.ForkProcess:
    """Start an attempt of the only task."""
    process = multiprocessing.get_context("fork").Process(target=main, args=(run.paths.folder, 0))
    process.start()
    return process


@pytest.mark.parametrize("layout", LAYOUTS)
def test_killed_at_any_moment(tmp_path: Path, layout: str) -> None:
    undisturbed, run = make_run(tmp_path, layout), make_run(tmp_path, layout)
    main(undisturbed.paths.folder, 0)
    whole = finished(undisturbed)
    chance = random.Random(layout)
    killed = 0
    for _ in range(10):
        done = len(read_task(run.paths.task(0)))
        process = attempt(run)
        while process.exitcode is None and len(read_task(run.paths.task(0))) <= done + chance.randint(0, 30):
            process.join(0.001)
        process.kill()
        process.join()
        killed += process.exitcode != 0
        if layout == "tar" and chance.random() < 0.5:
            # A finishing task that comes too early takes nothing away.
            collect(run, lambda line: None)
            missing = [index for index, _, row in checked_tiles(run) if row is None and index % REJECTED]
            assert not (missing and packs.is_pack(run.paths.masks))
    assert killed
    for torn in run.paths.folder.glob("tasks/0/*-1.*"):
        with torn.open("ab") as handle:
            handle.write(b"5,1,1,3")
    main(run.paths.folder, 0)
    found = {name: content for name, content in finished(run).items() if not name.endswith(".tmp")}
    assert found == whole


@pytest.mark.parametrize("layout", LAYOUTS)
def test_two_attempts_at_once_do_no_harm(tmp_path: Path, layout: str) -> None:
    alone, both = make_run(tmp_path, layout), make_run(tmp_path, layout)
    main(alone.paths.folder, 0)
    for process in [attempt(both), attempt(both)]:
        process.join()
        assert process.exitcode == 0
    assert finished(both) == finished(alone)


def test_how_work_was_cut_does_not_show(tmp_path: Path) -> None:
    whole = []
    for tasks in (1, 3):
        run = make_run(tmp_path, "tar", tasks=tasks)
        for task in run.tasks:
            main(run.paths.folder, task)
        whole.append(finished(run))
    assert whole[0] == whole[1]


def test_the_pack_of_a_run_is_a_pack(tmp_path: Path) -> None:
    run = make_run(tmp_path, "tar")
    main(run.paths.folder, 0)
    names = finished(run)
    assert sorted(name for name in names if name.endswith(".tar")) == [f"masks/pack-0000{n}.tar" for n in range(3)]
    assert not list(run.paths.folder.glob("tasks/*/masks-*"))
    tiles = [tile for index, tile, _ in checked_tiles(run) if index % REJECTED]
    wanted = {str(Path(tile.image).with_suffix(".png")): mask_of(tile) for tile in tiles}
    assert {
        packs.plain_name(name): packs.read_bytes(run.paths.masks / name) for name in find_files(run.paths.masks)
    } == (wanted)
    assert masks_of(run) == {tile.name: mask_of(tile) for tile in tiles}


def test_sharded_masks_are_numbered(tmp_path: Path) -> None:
    run = make_run(tmp_path, "sharded")
    main(run.paths.folder, 0)
    finished(run)
    for index, _, row in checked_tiles(run):
        path = run.paths.masks / f"{index:09}"[:3] / f"{index:09}"[3:6] / f"{index:09}.png"
        assert path.exists() == (row is not None) == bool(index % REJECTED)
    assert masks_of(run) == {tile.name: mask_of(tile) for index, tile, _ in checked_tiles(run) if index % REJECTED}


def test_no_folder_of_numbered_masks_is_large() -> None:
    assert mask_file("sharded", 12_345_678, "a/b.jpg") == "012/345/012345678.png"
    assert mask_file("sharded", 3_012_345_678, "a/b.jpg") == "3012/345/3012345678.png"
    paths = [mask_file("sharded", index, "x.jpg") for index in range(0, 10_000_000, 997)]
    assert len(set(paths)) == len(paths)
    assert len({path.split("/")[0] for path in paths}) == 10


def test_a_lost_archive_is_made_again(tmp_path: Path) -> None:
    run = make_run(tmp_path, "tar")
    main(run.paths.folder, 0)
    whole = finished(run)
    for harm in ("remove", "zero"):
        archive = run.paths.masks / "pack-00001.tar"
        if harm == "remove":
            archive.unlink()
        else:
            archive.write_bytes(bytes(archive.stat().st_size))
        packs.forget()
        lost = [index for index, _, row in checked_tiles(run) if row is None and index % REJECTED]
        assert lost == [index for index in range(100, 200) if index % REJECTED]
        main(run.paths.folder, 0)
        assert finished(run) == whole


def test_a_second_finishing_task_changes_nothing(tmp_path: Path) -> None:
    run = make_run(tmp_path, "tar")
    main(run.paths.folder, 0)
    whole = finished(run)
    times = {path: path.stat().st_mtime_ns for path in run.paths.masks.iterdir()}
    assert finished(run) == whole
    assert {path: path.stat().st_mtime_ns for path in run.paths.masks.iterdir()} == times


def test_probabilities_do_not_go_into_archives() -> None:
    with pytest.raises(ValidationError, match="expected `layout: mirror` or `sharded`"):
        Predict.model_validate({"layout": "tar", "probabilities": True})

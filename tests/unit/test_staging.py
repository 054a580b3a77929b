"""Scratch: a task reads copies on the node's own disk, which hold the same bytes and are gone afterwards."""

from __future__ import annotations

import multiprocessing
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from segbatch.errors import Interrupted, SegbatchError
from segbatch.runs import packs, staging
from segbatch.runs.creation import create_run
from segbatch.runs.listing import list_tiles
from segbatch.runs.packing import pack_folder
from segbatch.runs.plan import Plan
from segbatch.runs.run import Run
from segbatch.runs.staging import staged
from segbatch.spec.job import KINDS
from tests.support.labels import TWO_CLASSES

NAMES = ("a/1.jpg", "a/2.jpg", "quo\"te's.jpg", "line\nbreak/x.jpg", "ünï/日本.jpg", "z.jpg")


@pytest.fixture
def world(tmp_path: Path) -> Path:
    for number, name in enumerate(NAMES):
        for kind, suffix in (("images", ".jpg"), ("masks", ".png")):
            path = tmp_path / kind / Path(name).with_suffix(suffix)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(f"{kind} {name}".encode() * (1 + 30 * number))
    for kind in ("images", "masks"):
        pack_folder(tmp_path / kind, tmp_path / "packed" / kind, size=8000)
    return tmp_path


def make_run(root: Path, images: str, masks: str, *, scratch: bool = True, site: dict[str, Any] | None = None) -> Run:
    data = {"root": str(root), "images": images, "masks": masks}
    resources = {"scratch": scratch}
    job = KINDS["predict"].model_validate(
        {"kind": "predict", "name": "scratch", "data": data, "model": "m", "resources": resources}
    )
    listing = list_tiles(job.data, need_masks=False)
    plan = Plan(
        job=job,
        job_file=root / "job.yaml",
        labels=TWO_CLASSES,
        tiles=listing.tiles,
        split=None,
        shard_size=16,
        images_root=listing.images_root,
        masks_root=listing.masks_root,
        predictions_root="",
        bundle=None,
        runs_root=root / "runs",
        site=site or {},
    )
    return create_run(plan)


def tiles_of(run: Run) -> list[Any]:
    from segbatch.runs.tiles import read_tiles

    return list(read_tiles(run.paths.tiles))


@pytest.fixture(autouse=True)
def disk(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The node's own disk, as the batch script names it."""
    folder = tmp_path_factory.mktemp("node")
    monkeypatch.setenv("SEGBATCH_SCRATCH", str(folder))
    return folder


def read(root: str, name: str) -> bytes:
    return packs.read_bytes(os.path.join(root, name))


@pytest.mark.parametrize(("images", "masks"), [("images", "masks"), ("packed/images", "packed/masks")])
def test_copies_hold_the_same_bytes_and_go(world: Path, disk: Path, images: str, masks: str) -> None:
    run = make_run(world, images, masks)
    wanted = tiles_of(run)[1:5]
    said: list[str] = []
    with staged(run, wanted, log=said.append) as (images_root, masks_root, regions_root):
        assert Path(images_root).is_relative_to(disk)
        assert regions_root == ""
        for tile in wanted:
            assert read(images_root, tile.image) == (world / "images" / tile.name).read_bytes()
            assert read(masks_root, tile.mask) == (world / "masks" / tile.name).with_suffix(".png").read_bytes()
    assert "copied to" in said[0]
    assert list(disk.iterdir()) == []


def test_only_what_is_asked_for_is_copied_of_an_archive(tmp_path: Path, disk: Path) -> None:
    (tmp_path / "images").mkdir()
    for number in range(6):
        (tmp_path / "images" / f"{number}.jpg").write_bytes(bytes([number + 1]) * 400_000)
    pack_folder(tmp_path / "images", tmp_path / "packed", size=1 << 30)
    run = make_run(tmp_path, "packed", "packed")
    with staged(run, tiles_of(run)[4:5]) as (images_root, masks_root, _):
        assert read(masks_root, "pack-00000.tar/4.jpg") == bytes([5]) * 400_000
        copy = next(Path(images_root).glob("*.tar"))
        assert copy.stat().st_size == (tmp_path / "packed" / "pack-00000.tar").stat().st_size
        assert copy.stat().st_blocks * 512 < 600_000
        assert read(images_root, "pack-00000.tar/4.jpg") == bytes([5]) * 400_000
        with pytest.raises(OSError, match="CRC-32"):
            read(images_root, "pack-00000.tar/0.jpg")


def test_without_scratch_nothing_is_copied(world: Path, disk: Path) -> None:
    run = make_run(world, "images", "masks", scratch=False)
    with staged(run, tiles_of(run)) as roots:
        assert roots == (run.record.images_root, run.record.masks_root, "")
    assert list(disk.iterdir()) == []


def test_what_cannot_be_read_is_left_out(world: Path) -> None:
    run = make_run(world, "images", "packed/masks")
    (world / "images" / "a" / "1.jpg").unlink()
    archive = world / "packed" / "masks" / "pack-00000.tar"
    whole = archive.stat().st_size
    os.truncate(archive, 700)
    packs.forget()
    with staged(run, tiles_of(run)) as (images_root, masks_root, _):
        assert not Path(images_root, "a/1.jpg").exists()
        assert read(images_root, "a/2.jpg")
        with pytest.raises(OSError, match=r"cut off|CRC-32"):
            read(masks_root, "pack-00000.tar/a/2.png")
    assert whole > 700


def test_too_small_a_disk_is_told_before_anything_is_copied(world: Path, disk: Path, monkeypatch: Any) -> None:
    run = make_run(world, "images", "masks")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 5))  # type: ignore[attr-defined]
    with (
        pytest.raises(SegbatchError, match=r"take 0 MB.*has 0 MB free\. Cut the work into more tasks"),
        staged(run, tiles_of(run)),
    ):
        pass
    assert list(disk.iterdir()) == []


def test_a_disk_that_cannot_be_written(world: Path, monkeypatch: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SEGBATCH_SCRATCH", str(tmp_path / "file" / "below"))
    run = make_run(world, "images", "masks")
    with pytest.raises(SegbatchError, match=r"resources\.scratch: cannot write in"), staged(run, tiles_of(run)):
        pass


def test_a_stop_while_copying_is_an_interruption(world: Path, disk: Path) -> None:
    run = make_run(world, "images", "masks")
    with pytest.raises(Interrupted, match="while tiles were copied"), staged(run, tiles_of(run), lambda: True):
        pass
    assert list(disk.iterdir()) == []


def hold(run: Run, there: Any, go: Any) -> None:
    with staged(run, tiles_of(run)):
        there.set()
        go.wait()


def test_what_a_killed_task_left_is_removed_by_the_next(world: Path, disk: Path) -> None:
    run = make_run(world, "images", "masks")
    fork = multiprocessing.get_context("fork")
    there, go = fork.Event(), fork.Event()
    process = fork.Process(target=hold, args=(run, there, go))
    process.start()
    there.wait()
    left = set(disk.iterdir())
    assert len(left) == 1
    with staged(run, tiles_of(run)):
        # The other one still runs: its copies stay.
        assert left < set(disk.iterdir())
    process.kill()
    process.join()
    with staged(run, tiles_of(run)):
        assert not left & set(disk.iterdir())
    assert list(disk.iterdir()) == []


def test_the_sites_own_disk_is_taken_without_a_batch_script(world: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.delenv("SEGBATCH_SCRATCH")
    monkeypatch.setenv("LOCAL_DISK", str(tmp_path / "local"))
    run = make_run(world, "images", "masks", site={"scratch": "$LOCAL_DISK/tiles"})
    with staged(run, tiles_of(run)) as (images_root, _, _):
        assert Path(images_root).is_relative_to(tmp_path / "local" / "tiles")
    assert staging._base(make_run(world, "images", "masks", site={"scratch": "${NOWHERE:-/x}"})) != Path("/x")

"""Predict runs whose tiles lie in packs, and whose masks go to numbered folders or archives."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segbatch.errors import Exit
from segbatch.runs import packs
from segbatch.runs.listing import find_files
from segbatch.runs.outputs import checked_tiles, unfinished
from segbatch.runs.packing import pack_folder
from segbatch.runs.run import Run, open_run
from tests.integration.test_predict import complete, data, journalled, spoil, worker
from tests.support.labels import TWO_CLASSES
from tests.support.worlds import make_bundle, make_run, make_tiles, mixing_model, outputs

pytestmark = pytest.mark.tensorflow

LAYOUTS = ("mirror", "sharded", "tar")
ODD = ("quo\"te'd, comma.png", "line\nbreak.png", "ünïcode/日本.png")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("model") / "model", mixing_model())


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> Path:
    """Tiles with truth, some of them bad, some of odd names; and the same packed."""
    folder = tmp_path_factory.mktemp("world")
    make_tiles(folder, 60, size=[(32, 32), (32, 32), (40, 32)])
    spoil(folder)
    for name in ODD:
        for kind in ("images", "masks"):
            (folder / kind / name).parent.mkdir(exist_ok=True)
            shutil.copy(folder / kind / "a" / "tile 0000.png", folder / kind / name)
    for kind in ("images", "masks"):
        pack_folder(folder / kind, folder / "packed" / kind, size=60_000 if kind == "images" else 20_000)
    return folder


def predict(root: Path, bundle: Path, at: dict[str, Any], **settings: Any) -> Run:
    return make_run(root, "predict", at, model=str(bundle), predict={"batch_size": 4} | settings)


@pytest.fixture(scope="module")
def plain(world: Path, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The undisturbed run from folders, mirrored."""
    run = predict(tmp_path_factory.mktemp("plain"), bundle, data(world))
    assert complete(run) == Exit.REJECTED
    return run


def masks_by_tile(run: Run) -> dict[str, bytes]:
    """Every tile's mask, found as the run's own table says."""
    if run.paths.mask_table.exists():
        with run.paths.mask_table.open(newline="", encoding="utf-8") as table:
            places = {row["tile"]: row["mask"] for row in csv.DictReader(table)}
        return {tile: packs.read_bytes(run.paths.masks / place) for tile, place in places.items()}
    return {str(path.relative_to(run.paths.masks)): path.read_bytes() for path in run.paths.masks.rglob("*.png")}


def reports(run: Run) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.paths.report.glob("*.csv") if path.name != "masks.csv"}


def test_packed_tiles_give_the_bytes_of_the_folder(world: Path, bundle: Path, plain: Run, tmp_path: Path) -> None:
    run = predict(tmp_path, bundle, data(world / "packed"))
    assert complete(run) == Exit.REJECTED
    assert outputs(run) == outputs(plain)


def test_a_pack_damaged_under_way_rejects_its_tiles_by_name(
    world: Path, bundle: Path, plain: Run, tmp_path: Path
) -> None:
    shutil.copytree(world / "packed", tmp_path / "packed")
    run = predict(tmp_path, bundle, {"root": str(tmp_path / "packed"), "images": "images", "masks": "masks"})
    archive = tmp_path / "packed" / "images" / "pack-00001.tar"
    os.truncate(archive, archive.stat().st_size - 6000)
    assert complete(run) == Exit.REJECTED
    with (run.paths.report / "rejected.csv").open(newline="", encoding="utf-8") as table:
        reasons = [row["reason"] for row in csv.DictReader(table)]
    cut = [reason for reason in reasons if "pack-00001.tar is cut off" in reason]
    assert cut
    kept = outputs(run)
    whole = outputs(plain)
    assert len([name for name in kept if name.startswith("masks/")]) == len(plain_masks(whole)) - len(cut)
    assert all(whole[name] == content for name, content in kept.items() if name.startswith("masks/"))


def plain_masks(found: dict[str, bytes]) -> list[str]:
    return [name for name in found if name.startswith("masks/")]


@pytest.mark.parametrize("layout", ["sharded", "tar"])
def test_layouts_hold_the_same_masks(world: Path, bundle: Path, plain: Run, tmp_path: Path, layout: str) -> None:
    run = predict(tmp_path, bundle, data(world), layout=layout)
    assert complete(run) == Exit.REJECTED
    mirrored = masks_by_tile(plain)
    assert masks_by_tile(run) == {tile: mirrored[str(Path(tile).with_suffix(".png"))] for tile in masks_by_tile(run)}
    assert len(masks_by_tile(run)) == len(mirrored)
    assert reports(run) == reports(plain)
    before, after = ((one.paths.report / "index.html").read_text() for one in (plain, run))
    assert before.count("<img") == after.count("<img") > 0
    if layout == "sharded":
        assert (run.paths.masks / "000" / "000" / "000000000.png").is_file()
    else:
        assert sorted(path.name for path in run.paths.masks.iterdir()) == [
            "pack-00000.csv",
            "pack-00000.tar",
            "pack.json",
        ]
        assert not list(run.paths.folder.glob("tasks/*/masks-*"))


def test_masks_in_archives_are_evaluated_like_a_folder(world: Path, bundle: Path, plain: Run, tmp_path: Path) -> None:
    run = predict(tmp_path, bundle, data(world), layout="tar")
    complete(run)
    scores = []
    for number, predicted in enumerate((plain, run)):
        at = data(world) | {"predictions": {"folder": str(predicted.paths.masks)}}
        judged = make_run(tmp_path / str(number), "evaluate", at, labels=TWO_CLASSES.model_dump())
        assert complete(judged) == Exit.REJECTED
        assert list(unfinished(judged)) != []
        scores.append({name: reports(judged)[name] for name in ("classes.csv", "confusion.csv", "tiles.csv")})
    assert scores[0] == scores[1]


def everything(run: Run) -> dict[str, bytes]:
    """All files of masks and tables, whatever their layout."""
    found = [*run.paths.masks.rglob("*"), *run.paths.report.glob("*.csv")]
    return {str(path.relative_to(run.paths.folder)): path.read_bytes() for path in found if path.is_file()}


def test_killed_and_resumed_from_a_pack_into_archives_gives_the_same_bytes(bundle: Path, tmp_path: Path) -> None:
    """Of all layouts and more kills: tests/unit/test_mask_layouts.py."""
    count = 120
    make_tiles(tmp_path, count, size=[(32, 32), (48, 32)])
    spoil(tmp_path)
    pack_folder(tmp_path / "images", tmp_path / "packed", size=100_000)
    at = {"root": str(tmp_path), "images": "packed", "masks": "masks"}
    undisturbed, run = (predict(tmp_path, bundle, at, layout="tar") for _ in range(2))
    assert complete(undisturbed) == Exit.REJECTED
    process = worker(run, "--task", "0")
    journalled(run, count // 4, process)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert 0 < sum(row is not None for _, _, row in checked_tiles(run, 0)) < count
    assert complete(run) == Exit.REJECTED
    assert everything(run) == everything(undisturbed)
    assert not list(run.paths.folder.glob("tasks/*/masks-*"))


def test_probabilities_are_numbered_too(world: Path, bundle: Path, tmp_path: Path) -> None:
    run = predict(tmp_path, bundle, data(world), layout="sharded", probabilities=True)
    complete(run)
    mask = np.asarray(Image.open(run.paths.masks / "000/000/000000000.png"))
    probability = np.asarray(Image.open(run.paths.probabilities / "000/000/000000000.png"))
    assert np.array_equal(probability >= 128, mask == 1)


def test_names_of_any_kind_have_masks(plain: Run, world: Path) -> None:
    found = masks_by_tile(plain)
    assert set(ODD) <= set(found)
    assert open_run(plain.paths.folder).record.tiles == len(list(find_files(world / "images")))
    assert json.loads((plain.paths.report / "summary.json").read_text())["tiles"]["missing"] == 0


def test_scratch_changes_nothing(
    world: Path, bundle: Path, plain: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGBATCH_SCRATCH", str(tmp_path / "node"))
    at = {"root": str(world), "images": "packed/images", "masks": "masks"}
    settings = {"batch_size": 4}
    run = make_run(tmp_path, "predict", at, model=str(bundle), predict=settings, resources={"scratch": True})
    assert complete(run) == Exit.REJECTED
    assert outputs(run) == outputs(plain)
    assert not (tmp_path / "node").exists()


def test_training_from_packs_learns_the_same(tmp_path: Path) -> None:
    make_tiles(tmp_path, 24)
    for kind in ("images", "masks"):
        pack_folder(tmp_path / kind, tmp_path / "packed" / kind, size=20_000)
    weights = []
    for number, root in enumerate((tmp_path, tmp_path / "packed")):
        run = make_run(
            tmp_path / str(number),
            "train",
            data(root) | {"split": {"by": "hash"}},
            labels=TWO_CLASSES.model_dump(),
            model={"architecture": "unet", "filters": 4, "depth": 2, "input": [32, 32]},
            train={"epochs": 1, "batch_size": 4},
            resources={"scratch": bool(number)},
        )
        assert complete(run) == Exit.OK
        weights.append((run.paths.split.read_bytes(), (run.paths.training / "history.csv").read_text().split("\n")[1]))
    columns = [line.split(",") for _, line in weights]
    assert weights[0][0] == weights[1][0]
    assert columns[0][1:3] == columns[1][1:3]

"""The recipes of jobs/, shrunk: each trains, predicts and is scored on real pictures laid out as its header says."""

from __future__ import annotations

import csv
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segbatch.errors import Exit
from segbatch.runs.creation import create_run
from segbatch.runs.plan import make_plan
from segbatch.runs.run import Run
from segbatch.spec.job import KINDS, TrainJob
from segbatch.spec.load import load_job
from segbatch.worker import STOP_SIGNALS, run_task

pytestmark = [pytest.mark.tensorflow, pytest.mark.data]

STREETS = [f"street-{number:02}" for number in range(1, 14)]
SIDE = 64
# Ids of CamVid's classes among those of Cityscapes, by index; the last is its "unlabelled".
TO_CITYSCAPES = np.array([23, 11, 17, 7, 8, 21, 20, 13, 26, 24, 33, 0], np.uint8)


@pytest.fixture(scope="module")
def places(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Folders that lie as the recipes want them, by the variable that names each."""
    root = tmp_path_factory.mktemp("recipes")
    _lay_streets(shared_data / "camvid", root / "cityscapes")
    _lay_forest(shared_data / "aerial_buildings", root / "forest")
    return {"CITYSCAPES": str(root / "cityscapes"), "FOREST": str(root / "forest")}


def _lay_streets(source: Path, root: Path) -> None:
    for number, image in enumerate(sorted((source / "train").glob("*.png"))[:12]):
        name = f"{'train' if number % 4 else 'val'}/town/town_{number:06}_000019"
        picture = root / "leftImg8bit" / f"{name}_leftImg8bit.png"
        mask = root / "gtFine" / f"{name}_gtFine_labelIds.png"
        for path in (picture, mask):
            path.parent.mkdir(parents=True, exist_ok=True)
        Image.open(image).convert("RGB").resize((2 * SIDE, SIDE)).save(picture)
        truth = Image.open(source / "trainannot" / image.name).resize((2 * SIDE, SIDE), Image.Resampling.NEAREST)
        Image.fromarray(TO_CITYSCAPES[np.asarray(truth)]).save(mask)


def _lay_forest(source: Path, root: Path) -> None:
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    with (root / "meta_data.csv").open("w", newline="") as handle:
        table = csv.writer(handle)
        table.writerow(["image", "mask"])
        for number, image in enumerate(sorted((source / "images").glob("*.jpg"))[:20]):
            # Five pictures of four tiles each.
            names = [f"{10452 + number // 4}_{kind}_{number % 4:02}.jpg" for kind in ("sat", "mask")]
            shutil.copy(image, root / "images" / names[0])
            mask = Image.open(source / "masks" / f"{image.stem}.png").convert("RGB")
            mask.save(root / "masks" / names[1], quality=75)
            table.writerow(names)


def _small(job: TrainJob) -> TrainJob:
    """The same recipe with a tiny network and epochs of a few steps; what each version is about stays."""
    value = job.model_dump(mode="json", exclude_unset=True)
    value["model"] |= {"input": [SIDE, SIDE]}
    if job.model.chosen == "unet":
        value["model"] |= {"filters": 4, "depth": 2}
        value["data"]["split"] = {"by": "counts", "counts": {"train": 7, "val": 3, "test": 2}}
    else:
        value["model"] |= {"weights": None}
        value["data"]["split"] |= {"by": "counts", "counts": {"train": 12, "val": 8}}
        del value["data"]["split"]["fractions"]
    value["train"] |= {"epochs": 2, "batch_size": 4, "previews": 1, "readers": 2}
    for phase in value.get("phases", ()):
        phase |= {"epochs": 2}
    _shorten(value.get("train", {}), "dropout")
    for phase in value.get("phases", ()):
        _shorten(phase, "dropout")
        _shorten(phase.get("schedule", {}), "rates")
    _shorten(value["optimizer"].get("schedule", {}), "rates")
    return TrainJob.model_validate(value)


def _shorten(section: dict[str, Any], key: str) -> None:
    """Keep the first change of a list of changes, and let it come after one epoch."""
    pairs = section.get(key)
    if isinstance(pairs, list):
        section[key] = [[0, pairs[0][1]], [1, pairs[1][1]]] if len(pairs) > 1 else [[1, pairs[0][1]]]


@pytest.fixture(autouse=True)
def _own_signals() -> Iterator[None]:
    """Give this process its signals back, which a task takes over."""
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def _run(job: Any, folder: Path) -> Run:
    run = create_run(make_plan(job, folder / "job.yaml", runs_root=folder / "runs"))
    for task in (*range(len(list(run.tasks))), None):
        assert run_task(run.paths.folder, task) == Exit.OK
    return run


@pytest.mark.parametrize("name", ["forest", *STREETS])
def test_every_recipe_trains_predicts_and_is_scored(
    name: str, repo: Path, places: dict[str, str], tmp_path: Path
) -> None:
    recipe = load_job(repo / "jobs" / f"{name}.yaml", (), os.environ | places).job
    assert isinstance(recipe, TrainJob)
    job = _small(recipe)
    trained = _run(job, tmp_path)
    with (trained.paths.training / "history.csv").open(newline="") as handle:
        history = list(csv.DictReader(handle))
    assert len(history) == sum(phase.epochs or 2 for phase in job.phases) if job.phases else 2
    assert all(np.isfinite(float(row["loss"])) for row in history)
    data = job.data.model_dump(mode="json", exclude_unset=True) | {"part": "val"}
    predict = KINDS["predict"].model_validate(
        {"kind": "predict", "name": "predict", "data": data, "model": str(trained.paths.folder / "model")}
    )
    predicted = _run(predict, tmp_path)
    with (predicted.paths.report / "classes.csv").open(newline="") as handle:
        classes = list(csv.DictReader(handle))
    assert {row["name"] for row in classes} >= set(job.labels.names)
    assert len(list(predicted.paths.masks.rglob("*.png"))) == (8 if name == "forest" else 3)

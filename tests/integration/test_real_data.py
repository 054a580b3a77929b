"""The jobs of jobs/ on real tiles, made small: train, predict, report; scores recomputed from the written masks."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import confusion_matrix

pytestmark = [pytest.mark.tensorflow, pytest.mark.data]

SMALL = ["data.limit=24", "model.filters=4", "model.depth=2", "model.input=[64, 64]", "train.epochs=2"]


def segbatch(folder: Path, *arguments: str, **environ: str) -> str:
    outcome = subprocess.run(
        [sys.executable, "-m", "segbatch", *arguments],
        cwd=folder,
        env=os.environ | environ,
        capture_output=True,
        text=True,
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    return outcome.stdout


def sets(values: list[str]) -> list[str]:
    return [part for value in values for part in ("--set", value)]


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as handle:
        return list(csv.DictReader(handle))


def recount(run: Path, truth: Path, raw: dict[int, int], tiles: dict[str, str]) -> np.ndarray:
    """Confusion matrix of the written masks, by Pillow and scikit-learn; `raw` maps truth values to indices."""
    true, predicted = [], []
    for image, mask in tiles.items():
        real = np.asarray(Image.open(truth / mask))
        made = np.asarray(Image.open((run / "masks" / image).with_suffix(".png")))
        assert real.shape == made.shape
        valid = np.isin(real, list(raw))
        true.append(real[valid])
        predicted.append(made[valid])
    labels = sorted(raw)
    return confusion_matrix(np.concatenate(true), np.concatenate(predicted), labels=labels)


@pytest.mark.parametrize(
    ("name", "variable", "folder", "masks", "raw"),
    [
        ("buildings", "AERIAL", "aerial_buildings", "masks", {0: 0, 255: 1}),
        ("camvid", "CAMVID", "camvid", ".", {index: index for index in range(11)}),
    ],
)
def test_train_predict_report_and_evaluate(
    repo: Path,
    shared_data: Path,
    tmp_path: Path,
    name: str,
    variable: str,
    folder: str,
    masks: str,
    raw: dict[int, int],
) -> None:
    shutil.copytree(repo / "jobs", tmp_path / "jobs")
    root = shared_data / folder
    segbatch(tmp_path, "submit", f"jobs/{name}-train.yaml", "--wait", *sets(SMALL), **{variable: str(root)})
    shown = segbatch(
        tmp_path, "submit", f"jobs/{name}-predict.yaml", "--wait", *sets(["data.limit=16"]), **{variable: str(root)}
    )
    assert "mean IoU" in shown
    run = (tmp_path / f"runs/{name}-predict/latest").resolve()
    pairs = {row["image"]: row["mask"] for row in table(root / "metadata.csv")}
    tiles = {row["tile"]: pairs[row["tile"]] for row in table(run / "report/tiles.csv")}
    assert len(tiles) == 16
    matrix = recount(run, root / masks, raw, tiles)
    for index, row in enumerate(table(run / "report/classes.csv")):
        tp = int(matrix[index, index])
        assert int(row["tp"]) == tp
        assert int(row["fp"]) == int(matrix[:, index].sum()) - tp
        assert int(row["fn"]) == int(matrix[index].sum()) - tp
    history = table(tmp_path / f"runs/{name}-train/latest/training/history.csv")
    assert [row["epoch"] for row in history] == ["1", "2"]
    evaluated(tmp_path, run, root, masks, tiles, name)


def evaluated(tmp_path: Path, run: Path, root: Path, masks: str, tiles: dict[str, str], name: str) -> None:
    """Scoring the written masks without the model gives the same table."""
    truth = tmp_path / "truth"
    for image, mask in tiles.items():
        place = (truth / image).with_suffix(".png")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(root / masks / mask)
    values = "raw" if name == "buildings" else "ids"
    options = sets([f"labels={name}", f"data.predictions.values={values}"])
    environ = {"TRUTH": str(truth), "MASKS": str(run / "masks")}
    segbatch(tmp_path, "submit", "jobs/evaluate.yaml", "--wait", *options, **environ)
    again = tmp_path / "runs/evaluate/latest/report"
    for file in ("classes.csv", "confusion.csv"):
        assert (again / file).read_bytes() == (run / "report" / file).read_bytes()
    scores = [json.loads((place / "summary.json").read_text())["scores"] for place in (again, run / "report")]
    assert scores[0] == scores[1]

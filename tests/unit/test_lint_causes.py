"""`segbatch check`: jobs that predict and evaluate, tables, and masks that seem right and are not."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from subprocess import run
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segbatch.data.lint import Finding, lint
from segbatch.spec.builtin import builtin_document
from segbatch.spec.bundle import BundleInfo
from segbatch.spec.job import KINDS
from segbatch.spec.labels import Labels
from tests.support.labels import TWO_CLASSES

HALVES = np.repeat([[0, 1]], 8, 0).repeat(4, 1)
VOID = {"id": 255, "name": "void", "color": "#ffffff", "ignore": True}


def save(path: Path, pixels: Any, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(np.asarray(pixels, np.uint8))
    picture.save(path, **options)


def world(root: Path, masks: Any = HALVES, count: int = 3, folder: str = "masks") -> Path:
    for number in range(count):
        save(root / "images" / f"{number}.png", np.full((8, 8, 3), number))
        save(root / folder / f"{number}.png", masks)
    return root


def find(root: Path, kind: str, labels: Labels | None = TWO_CLASSES, **sections: Any) -> dict[str, Finding]:
    data = {"root": str(root), "images": "images", "masks": "masks"} | sections.pop("data", {})
    given = {"labels": labels.model_dump()} if labels else {}
    job = KINDS[kind].model_validate({"kind": kind, "name": "x", "data": data, **given, **sections})
    return {finding.kind: finding for finding in lint(job, full=True, sample=1)}


def two_and(*more: dict[str, Any], **settings: Any) -> Labels:
    classes = [item.model_dump() for item in TWO_CLASSES.classes]
    classes[1]["values"] = None
    return Labels.model_validate({"name": "own", "classes": [*classes, *more], **settings})


@pytest.mark.parametrize("labels", [two_and(VOID), two_and(unclaimed="ignore")], ids=["void", "ignore unclaimed"])
def test_a_second_class_that_is_ignored_is_found(tmp_path: Path, labels: Labels) -> None:
    """0/255 masks under labels 0 and 1 that ignore 255: every value is fine, and the model would learn one class."""
    found = find(world(tmp_path, HALVES * 255), "train", labels)["0/255 masks"]
    assert (found.severity, found.count) == ("error", 3)
    assert "`values: 255`" in found.fix
    assert "'forest'" in found.fix
    assert find(world(tmp_path, HALVES), "train", labels) == {}


def test_train_ids_that_all_are_label_ids_too(tmp_path: Path) -> None:
    labels = Labels.model_validate(builtin_document("cityscapes").value)
    ids = np.arange(64).reshape(8, 8)
    found = find(world(tmp_path, ids % 19), "train", labels)["train ids"]
    assert "every value" in found.message
    assert find(world(tmp_path, ids % 34), "train", labels) == {}


def test_palette_masks_whose_numbers_mean_nothing(tmp_path: Path) -> None:
    picture = Image.fromarray((HALVES * 5).astype(np.uint8))
    picture.putpalette([0, 0, 0] * 5 + [0, 170, 0])
    found = find(world(tmp_path, picture), "train")["palette masks"]
    assert "`values: 5` for 'forest'" in found.fix


def test_colours_of_the_labels_are_named(tmp_path: Path) -> None:
    colors = np.array([[0, 0, 0], [0, 170, 0]])[HALVES]
    found = find(world(tmp_path, colors), "train")["colour masks"]
    assert "#00aa00 is forest" in found.fix
    assert "#000000" in found.message


def test_predictions_are_read_as_the_job_says(tmp_path: Path) -> None:
    world(tmp_path)
    world(tmp_path, HALVES * 200, folder="predicted")
    save(tmp_path / "predicted" / "2.png", np.zeros((8, 9)))
    data = {"predictions": {"folder": "predicted"}}
    found = find(tmp_path, "evaluate", data=data)
    assert found["ids or raw values"].fix == "Set `data.predictions.values: raw`."
    assert found["sizes"].example == "2.png: 9 x 8 pixels (width x height), its tile 8 x 8 pixels (width x height)"
    (tmp_path / "predicted" / "2.png").unlink()
    data["predictions"]["values"] = "raw"
    assert set(find(tmp_path, "evaluate", data=data)) == {"masks without prediction"}


def predict(root: Path, **predict: Any) -> dict[str, Finding]:
    return find(root, "predict", None, model={"bundle": str(root / "model")}, predict=predict)


def test_a_bundle_says_what_images_and_masks_must_hold(tmp_path: Path) -> None:
    world(tmp_path, HALVES * 7)
    missing = predict(tmp_path)
    assert set(missing) == {"model"}
    assert "no such bundle folder" in missing["model"].message
    info = BundleInfo(name="x", labels=TWO_CLASSES, head="binary", input=(16, 16), bands=1)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "bundle.json").write_text(info.model_dump_json())
    (tmp_path / "model" / "model.keras").write_bytes(b"")
    found = predict(tmp_path, fit="window")
    assert set(found) == {"unclaimed values", "unfit images", "window larger than tile"}
    assert "3 bands (RGB)" in found["unfit images"].message
    assert "16 pixels" in found["window larger than tile"].message
    assert "window larger than tile" not in predict(tmp_path, fit="window", window=8, overlap=0)


def test_files_of_a_table_that_do_not_exist_are_found_outside_the_sample(tmp_path: Path) -> None:
    world(tmp_path, count=20)
    rows = [f"{n}.png,{n}.png" for n in range(20)]
    (tmp_path / "table.csv").write_text("\n".join(["image,mask", *rows, "gone.png,0.png"]))
    data = {"root": str(tmp_path), "images": "images", "masks": "masks", "pair": {"by": "csv", "file": "table.csv"}}
    job = KINDS["train"].model_validate({"kind": "train", "name": "x", "data": data, "labels": TWO_CLASSES})
    found = {finding.kind: finding for finding in lint(job, full=False, sample=1)}
    assert set(found) == {"missing images"}
    assert (found["missing images"].count, found["missing images"].example) == (1, "gone.png")


def test_mixed_and_deep_images(tmp_path: Path) -> None:
    world(tmp_path)
    save(tmp_path / "images" / "1.png", np.zeros((8, 8, 4)))
    found = find(tmp_path, "train")["bands of tiles"]
    assert (found.severity, found.count, found.example) == ("warning", 1, "1.png: 4 bands (RGBA)")
    save(tmp_path / "images" / "1.png", Image.fromarray(np.zeros((8, 8), np.uint16)))
    assert "data.depth: 16" in find(tmp_path, "train")["unfit images"].fix
    assert find(tmp_path, "train", data={"size": (9, 8)})["declared size"].count == 3


def test_a_split_that_cannot_be_made_is_a_finding(tmp_path: Path) -> None:
    found = find(world(tmp_path), "train", data={"split": {"by": "counts", "counts": {"train": 9}}})
    assert "they ask for 9 tiles, there are 3" in found["split"].message
    empty = find(world(tmp_path), "train", data={"split": {"by": "hash", "fractions": {"val": 1.0}}})
    assert (empty["empty part"].severity, empty["empty part"].message) == (
        "error",
        "no tile falls into the part `train`",
    )


def test_names_of_any_bytes_can_be_printed(tmp_path: Path) -> None:
    world(tmp_path)
    (tmp_path / "images").joinpath("\udcff\n'.png").write_bytes(b"\x00\x01\x02")
    save(tmp_path / "masks" / "\udcff\n'.png", HALVES)
    found = find(tmp_path, "train")["unreadable files"]
    json.dumps(found.example).encode("ascii")
    found.example.encode("utf-8")


def test_looking_at_data_needs_no_tensorflow() -> None:
    code = "import sys, segbatch.data.lint, segbatch.data.reasons; print('tensorflow' in sys.modules)"
    assert run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"

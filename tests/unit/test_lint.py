"""What `segbatch check` finds in a job's data, each with its likely cause."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segbatch.data.lint import Finding, lint
from segbatch.spec.builtin import builtin_document
from segbatch.spec.job import KINDS, Job
from segbatch.spec.labels import Labels
from tests.support.labels import TWO_CLASSES

GREY = np.arange(64, dtype=np.uint8).reshape(8, 8)


def save(path: Path, pixels: Any, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(np.asarray(pixels, np.uint8))
    picture.save(path, **options)


def world(root: Path, masks: Any, count: int = 4, suffix: str = ".png") -> Path:
    for number in range(count):
        save(root / "images" / f"{number}.png", np.full((8, 8, 3), number))
        save(root / "masks" / f"{number}{suffix}", masks)
    return root


def job(root: Path, labels: Labels = TWO_CLASSES, **data: Any) -> Job:
    places = {"root": str(root), "images": "images", "masks": "masks"}
    return KINDS["train"].model_validate(
        {"kind": "train", "name": "x", "labels": labels.model_dump(), "data": places | data}
    )


def builtin(name: str) -> Labels:
    return Labels.model_validate(builtin_document(name).value)


def find(root: Path, labels: Labels = TWO_CLASSES, **data: Any) -> dict[str, Finding]:
    return {finding.kind: finding for finding in lint(job(root, labels, **data), full=True, sample=10)}


def labels_of(*values: Any, name: str = "own") -> Labels:
    classes = [
        {"id": n, "name": f"class {n}", "color": "#000000", "values": list(np.atleast_1d(value).tolist())}
        for n, value in enumerate(values)
    ]
    return Labels.model_validate({"name": name, "classes": classes})


def test_good_data_gives_no_findings(tmp_path: Path) -> None:
    assert find(world(tmp_path, GREY % 2)) == {}


def test_files_without_partner_and_twins(tmp_path: Path) -> None:
    world(tmp_path, GREY % 2)
    save(tmp_path / "images" / "alone.png", np.zeros((8, 8, 3)))
    save(tmp_path / "masks" / "lost.png", GREY % 2)
    save(tmp_path / "images" / "1.jpg", np.zeros((8, 8, 3)))
    found = find(tmp_path)
    assert (found["images without mask"].count, found["images without mask"].example) == (1, "alone.png")
    assert (found["masks without image"].count, found["masks without image"].example) == (1, "lost.png")
    assert found["duplicate outputs"].severity == "error"
    assert found["duplicate outputs"].example == "1.jpg and 1.png"


@pytest.mark.parametrize(
    ("pixels", "labels", "kind", "fix"),
    [
        (GREY % 2 * 255, labels_of(0, 1), "0/255 masks", "values: 255"),
        (GREY % 2, labels_of(0, 255), "0/1 masks", "values: 1"),
        (np.where(GREY % 19 == 0, 255, GREY % 19), builtin("cityscapes-19"), "train ids", "labelIds"),
        (np.where(GREY % 19 == 0, 255, GREY % 19), builtin("cityscapes"), "train ids", "labelIds"),
        (GREY % 34, labels_of(*range(19)), "label ids", "cityscapes-19"),
        (GREY % 2 + 7, TWO_CLASSES, "unclaimed values", "unclaimed: ignore"),
    ],
)
def test_values_that_no_class_claims_and_why(tmp_path: Path, pixels: Any, labels: Labels, kind: str, fix: str) -> None:
    found = find(world(tmp_path, pixels), labels)
    assert found[kind].severity == "error"
    assert found[kind].count == 4
    assert fix in found[kind].fix


def test_jpeg_masks_ring_and_forest_is_the_cure(tmp_path: Path) -> None:
    stripes = np.repeat(np.repeat(GREY % 2, 5, 0), 5, 1) * 255
    for number in range(3):
        save(tmp_path / "images" / f"{number}.png", np.zeros((40, 40, 3)))
        save(tmp_path / "masks" / f"{number}.jpg", stripes, quality=80)
    found = find(tmp_path, labels_of(0, 255))
    assert "0-127" in found["JPEG ringing"].fix
    assert find(tmp_path, builtin("forest")) == {}


def test_colour_masks_sizes_and_broken_files(tmp_path: Path) -> None:
    world(tmp_path, GREY % 2, count=5)
    save(tmp_path / "masks" / "0.png", np.stack([GREY, GREY // 2, GREY], -1))
    save(tmp_path / "masks" / "1.png", (GREY % 2)[:, :6])
    (tmp_path / "images" / "2.png").write_bytes(b"text, no picture")
    save(tmp_path / "images" / "3.png", np.zeros((9, 8, 3)))
    found = find(tmp_path)
    assert "colours" in found["colour masks"].example
    assert found["sizes"].count == 2
    assert "8 pixels" in found["sizes"].example or "x 8" in found["sizes"].example
    assert "text" in found["unreadable files"].example
    assert found["sizes of tiles"].severity == "warning"


def test_palette_masks_count_by_their_ids(tmp_path: Path) -> None:
    palette = Image.fromarray((GREY % 2).astype(np.uint8))
    palette.putpalette([0, 0, 0, 17, 170, 90])
    assert find(world(tmp_path, palette)) == {}


def test_a_wrong_extension_does_no_harm_but_is_told(tmp_path: Path) -> None:
    world(tmp_path, GREY % 2)
    save(tmp_path / "images" / "0.png", np.zeros((8, 8, 3)), format="JPEG")
    found = find(tmp_path)["wrong extensions"]
    assert (found.severity, found.example) == ("warning", "0.png is JPEG")


def test_parts_and_ignored_masks(tmp_path: Path) -> None:
    world(tmp_path, np.full((8, 8), 9), count=3)
    classes = [item.model_dump() for item in TWO_CLASSES.classes]
    void = {"id": 9, "name": "void", "color": "#ffffff", "ignore": True}
    labels = Labels.model_validate({"name": "own", "classes": [*classes, void]})
    found = find(tmp_path, labels, split={"by": "counts", "counts": {"train": 3, "val": 0}})
    assert found["ignored masks"].count == 3
    assert found["empty part"].severity == "warning"


def test_a_sample_is_the_same_every_time(tmp_path: Path) -> None:
    world(tmp_path, GREY % 2, count=40)
    (tmp_path / "images" / "7.png").write_bytes(b"")
    seen: list[tuple[int, int]] = []
    first = lint(job(tmp_path), full=False, sample=10, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (10, 10)
    assert lint(job(tmp_path), full=False, sample=10) == first
    assert len(lint(job(tmp_path), full=True, sample=10)) == 1

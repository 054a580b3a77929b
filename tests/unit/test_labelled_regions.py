"""Masks of labelled regions: found by name, kept in the run, looked at by `check`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segbatch.data.formats import ImageFormat
from segbatch.data.lint import lint
from segbatch.data.reasons import READABLE_NOW, explain
from segbatch.errors import InputError
from segbatch.runs.listing import list_tiles
from segbatch.runs.tiles import read_tiles
from segbatch.spec.data import Data
from segbatch.spec.job import KINDS
from tests.support.labels import TWO_CLASSES
from tests.support.worlds import make_run

GREY = np.arange(64, dtype=np.uint8).reshape(8, 8)


def save(path: Path, pixels: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number in range(4):
        save(tmp_path / f"images/{number}_sat.png", np.full((8, 8, 3), number))
        save(tmp_path / f"masks/{number}_mask.png", GREY % 2)
        save(tmp_path / f"labelled/{number}_mask.bmp", GREY // 32)
    return tmp_path


def places(root: Path, **changes: Any) -> dict[str, Any]:
    pair = {"by": "suffix", "image_suffix": "_sat.png", "mask_suffix": "_mask.png"}
    return {"root": str(root), "images": "images", "masks": "masks", "labelled": "labelled", "pair": pair} | changes


def test_they_are_found_by_the_name_of_the_mask_or_the_image(root: Path) -> None:
    listing = list_tiles(Data.model_validate(places(root)), need_masks=True)
    assert [(tile.mask, tile.labelled) for tile in listing.tiles][2] == ("2_mask.png", "2_mask.bmp")
    save(root / "labelled/2_sat.png", GREY)
    listing = list_tiles(Data.model_validate(places(root)), need_masks=True)
    assert listing.tiles[2].labelled == "2_sat.png"
    assert listing.labelled_root == str(root / "labelled")


def test_a_tile_without_one_is_refused(root: Path) -> None:
    (root / "labelled/3_mask.bmp").unlink()
    with pytest.raises(InputError, match=r"1 of 4 tiles have no mask of their labelled region.*for 3_sat\.png"):
        list_tiles(Data.model_validate(places(root)), need_masks=True)


@pytest.mark.parametrize(("labelled", "header"), [("labelled", "image,mask,prediction,labelled"),
                                                  (None, "image,mask,prediction")])  # fmt: skip
def test_the_run_keeps_them(root: Path, labelled: str | None, header: str) -> None:
    run = make_run(root, "train", places(root, labelled=labelled), labels=TWO_CLASSES.model_dump())
    assert run.paths.tiles.read_text().splitlines()[0] == header
    assert [tile.labelled for tile in read_tiles(run.paths.tiles)] == [
        f"{number}_mask.bmp" if labelled else "" for number in range(4)
    ]
    assert run.record.labelled_root == (str(root / "labelled") if labelled else "")


def test_check_looks_at_them(root: Path) -> None:
    job = KINDS["train"].model_validate(
        {"kind": "train", "name": "x", "labels": TWO_CLASSES.model_dump(), "data": places(root)}
    )
    assert lint(job, full=True, sample=10) == []
    save(root / "labelled/0_mask.bmp", np.zeros((8, 8)))
    save(root / "labelled/1_mask.bmp", np.ones((8, 9)))
    save(root / "labelled/2_mask.bmp", np.dstack([GREY, GREY, GREY + 1]))
    (root / "labelled/3_mask.bmp").write_bytes(b"")
    found = {finding.kind: (finding.severity, finding.count) for finding in lint(job, full=True, sample=10)}
    assert found == {
        "unreadable files": ("error", 1),
        "sizes": ("error", 1),
        "colour labelled regions": ("error", 1),
        "empty labelled regions": ("warning", 1),
    }


def test_a_rejected_tile_says_why(root: Path) -> None:
    table = TWO_CLASSES.raw_to_index()
    paths = root / "images/0_sat.png", root / "masks/0_mask.png"
    assert explain(*paths, ImageFormat(), table, None, root / "labelled/0_mask.bmp") == READABLE_NOW
    assert explain(*paths, ImageFormat(), table, None, root / "gone.png") == "labelled region: missing file"
    save(root / "wide.png", np.ones((8, 9)))
    reason = explain(*paths, ImageFormat(), table, None, root / "wide.png")
    assert reason.startswith("labelled region: 9 x 8 pixels")

"""A whole report: tables, summary and page, from one pass over the records."""

from __future__ import annotations

import csv
import json
import weakref
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segbatch.evaluation.record import TileRecord
from segbatch.evaluation.report import LISTED, write_report
from segbatch.evaluation.summary import Title
from segbatch.spec.labels import Labels

TITLE = Title("20260102-030405-abcd", "street", "predict")
THREE = Labels.model_validate(
    {
        "name": "three",
        "classes": [
            {"id": 0, "name": "road", "color": "#804080"},
            {"id": 1, "name": "tree", "color": "#00ff00"},
            {"id": 2, "name": "boat", "color": "#0000ff"},
        ],
    }
)
TWO = Labels.model_validate(
    {
        "name": "two",
        "classes": [
            {"id": 0, "name": "ground", "color": "#000000"},
            {"id": 1, "name": "<b>house & home</b>", "color": "#ffffff"},
        ],
    }
)
EMPTY_SUMMARY_TILES = {"total": 0, "done": 0, "scored": 0, "rejected": 0, "missing": 0}


def record(name: str, right: int, wrong: int, classes: int = 3) -> TileRecord:
    """A tile of roads and trees, on which `wrong` pixels of road were taken for tree."""
    counts = np.zeros((classes, classes + 1), np.int64)
    counts[0, 0], counts[0, 1], counts[1, 1] = right, wrong, 10
    return TileRecord(name, 10, 10, counts, counts[:, :classes].sum(axis=0))


def ten() -> list[TileRecord]:
    return [record(f"tile {number}.png", 40 + number, 10 - number) for number in range(10)]


class Page(HTMLParser):
    """What a page refers to, and its visible text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.texts: list[str] = []
        self.images: list[str] = []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.text = " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        self.images += [value or "" for name, value in attrs if tag == "img" and name == "alt"]

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] != "style":
            self.texts.append(data)


def write(folder: Path, **changes: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {"title": TITLE, "labels": THREE, "truth": True, "records": iter(ten())} | changes
    return write_report(folder, **arguments)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def test_the_summary(tmp_path: Path) -> None:
    timing = {"tiles_per_second": 12.5, "megapixels_per_second": 0.8, "seconds": 0.8, "stages": {"step": 0.5}}
    provenance = {"digests": {"job": "sha256:00"}, "versions": {"segbatch": "0.1.0"}}
    rejected = [("bad.png", "not a picture")]
    summary = write(tmp_path, rejected=rejected, missing=["late.png"], timing=timing, provenance=provenance)
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    assert summary["schema_version"] == 1
    assert (summary["run"], summary["job"], summary["kind"]) == ("20260102-030405-abcd", "street", "predict")
    assert summary["tiles"] == {"total": 12, "done": 10, "scored": 10, "rejected": 1, "missing": 1}
    # 445 pixels of road right, 55 taken for tree; 100 of tree right.
    assert summary["scores"] == {
        "valid_pixels": 600,
        "accuracy": pytest.approx(545 / 600),
        "mean_iou": pytest.approx((445 / 500 + 100 / 155) / 2),
        "mean_dice": pytest.approx((890 / 945 + 200 / 255) / 2),
        "frequency_weighted_iou": pytest.approx((500 * 445 / 500 + 100 * 100 / 155) / 600),
        "classes_entered": {"number": 2, "names": ["road", "tree"]},
    }
    assert summary["classes"][2] == {
        **{"id": 2, "name": "boat", "tp": 0, "fp": 0, "fn": 0, "iou": None, "dice": None},
        **{"precision": None, "recall": None, "share_of_truth": 0.0, "share_of_prediction": 0.0},
    }
    assert summary["timing"] == timing
    assert summary["digests"] == {"job": "sha256:00"}
    assert summary["provenance"] == {"versions": {"segbatch": "0.1.0"}}


def test_two_classes_also_give_the_second_ones_scores(tmp_path: Path) -> None:
    summary = write(tmp_path, labels=TWO, records=[record("a", 80, 10, classes=2)])
    name = "<b>house & home</b>"
    assert summary["scores"]["foreground"] == {"name": name, "iou": 0.5, "dice": pytest.approx(2 / 3)}
    page = Page(tmp_path / "index.html")
    assert f"IoU of {name}" in page.text
    assert "<b>house" not in page.source


def test_tables_agree_with_each_other(tmp_path: Path) -> None:
    write(tmp_path)
    matrix = rows(tmp_path / "confusion.csv")
    tiles = rows(tmp_path / "tiles.csv")
    assert sum(int(tile["valid pixels"]) for tile in tiles) == 600
    assert [tile["tile"] for tile in tiles] == [item.tile for item in ten()]
    for item in rows(tmp_path / "classes.csv"):
        row = next(line for line in matrix if line["true class"] == item["name"])
        tp = int(row[item["name"]])
        fn = sum(int(row[name]) for name in THREE.names) - tp
        fp = sum(int(line[item["name"]]) for line in matrix) - tp
        assert (int(item["tp"]), int(item["fp"]), int(item["fn"])) == (tp, fp, fn)
        assert item["IoU"] == (f"{tp / (tp + fp + fn):.6f}" if tp + fp + fn else "")


def test_the_same_records_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path / name, rejected=[("x", "y")], picture=lambda tile: tile.encode())
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == ["classes.csv", "confusion.csv", "index.html", "rejected.csv", "summary.json", "tiles.csv"]
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_without_truth_there_are_shares_and_no_scores(tmp_path: Path) -> None:
    write(tmp_path)
    tiles = [TileRecord(f"{number}", 10, 10, None, np.array([25, 50, 0])) for number in range(4)]
    summary = write(tmp_path, truth=False, records=tiles, pictures=1, picture=lambda _: None)
    assert summary["scores"] is None
    assert summary["classes"][1] == {"id": 1, "name": "tree", "share_of_prediction": 0.5}
    assert not (tmp_path / "confusion.csv").exists()
    assert rows(tmp_path / "classes.csv")[1]["share of prediction"] == "0.500000"
    assert rows(tmp_path / "tiles.csv")[0]["share tree"] == "0.500000"
    page = Page(tmp_path / "index.html")
    assert "without ground truth" in page.text
    assert "Confusion" not in page.text
    assert page.text.count("no picture") == 2


def test_a_tile_without_truth_has_empty_cells(tmp_path: Path) -> None:
    nothing = TileRecord("z", 10, 10, None, np.array([100, 0, 0]))
    summary = write(tmp_path, records=[*ten(), nothing])
    assert summary["tiles"] == {"total": 11, "done": 11, "scored": 10, "rejected": 0, "missing": 0}
    last = rows(tmp_path / "tiles.csv")[-1]
    assert last["valid pixels"] == "0"
    assert not any(last[name] for name in ("accuracy", "mean IoU", "mean Dice", "IoU road", "Dice tree"))
    assert "1 tile has no valid pixel" in Page(tmp_path / "index.html").text


def test_the_best_and_the_worst_are_shown(tmp_path: Path) -> None:
    asked: list[str] = []

    def picture(tile: str) -> bytes:
        asked.append(tile)
        return b"\x89PNG" if tile == "tile 9.png" else b"\xff\xd8\xff"

    write(tmp_path, pictures=2, picture=picture, panels=["Image", "Truth"])
    assert sorted(asked) == ["tile 0.png", "tile 1.png", "tile 8.png", "tile 9.png"]
    page = Page(tmp_path / "index.html")
    assert page.images == ["tile 0.png", "tile 1.png", "tile 9.png", "tile 8.png"]
    assert [link.split(",")[0] for link in page.links] == [
        *("data:image/jpeg;base64", "data:image/jpeg;base64"),
        *("data:image/png;base64", "data:image/jpeg;base64"),
    ]


def test_few_tiles_are_shown_once(tmp_path: Path) -> None:
    asked: list[str] = []
    write(tmp_path, records=ten()[:3], pictures=6, picture=asked.append)
    assert asked == ["tile 2.png", "tile 1.png", "tile 0.png"]


def test_ties_stand_in_order_of_name(tmp_path: Path) -> None:
    asked: list[str] = []
    tiles = [record(name, 40, 5) for name in "abcdef"]
    write(tmp_path, records=tiles, pictures=2, picture=asked.append)
    assert asked == ["a", "b", "f", "e"]


def test_tiles_of_one_class_all_right_are_not_shown(tmp_path: Path) -> None:
    asked: list[str] = []
    counts = np.zeros((3, 4), np.int64)
    counts[0, 0] = 100
    plain = [TileRecord(f"plain {number}", 10, 10, counts, np.array([100, 0, 0])) for number in range(5)]
    write(tmp_path, records=[*plain, *ten()], pictures=1, picture=asked.append)
    assert asked == ["tile 9.png", "tile 0.png"]


def test_without_pictures_none_is_asked_for(tmp_path: Path) -> None:
    def picture(tile: str) -> bytes:
        raise AssertionError(tile)

    for truth in (True, False):
        write(tmp_path, truth=truth, pictures=0, picture=picture)
    assert "Pictures" not in Page(tmp_path / "index.html").text


def test_a_record_is_forgotten_once_it_is_written(tmp_path: Path) -> None:
    alive: weakref.WeakSet[TileRecord] = weakref.WeakSet()

    def stream(truth: bool) -> Iterator[TileRecord]:
        for number in range(200):
            item = record(f"{number:03}", 40, number % 10)
            alive.add(item)
            assert len(alive) <= 2
            yield item

    for truth in (True, False):
        assert write(tmp_path, truth=truth, records=stream(truth), pictures=3)["tiles"]["done"] == 200


def test_the_page_needs_nothing_else(tmp_path: Path) -> None:
    write(tmp_path, rejected=[("bad.png", "text")], missing=3, picture=lambda _: b"\xff\xd8\xff", timing={"seconds": 4})
    page = Page(tmp_path / "index.html")
    assert all(link.startswith("data:image/") for link in page.links)
    assert not {"script", "link", "iframe", "object", "embed", "base"} & set(page.tags)
    assert "http" not in page.source.replace("http-equiv", "")
    assert "url(" not in page.source
    assert "@import" not in page.source


def test_the_page_says_what_is_not_covered(tmp_path: Path) -> None:
    bad = [(f"bad {number}.png", "ends early") for number in range(LISTED + 7)]
    summary = write(tmp_path, rejected=iter(bad), missing=[f"late {number}" for number in range(1234)])
    page = Page(tmp_path / "index.html")
    assert summary["tiles"]["rejected"] == len(rows(tmp_path / "rejected.csv")) == LISTED + 7
    assert "These numbers do not cover every tile. 1,234 tiles are missing" in page.text
    assert f"bad {LISTED - 1}.png" in page.text
    assert f"bad {LISTED}.png" not in page.text
    assert "and 7 more, all in rejected.csv" in page.text
    assert "and 1,184 more" in page.text


def test_undefined_classes_are_named(tmp_path: Path) -> None:
    write(tmp_path)
    assert "neither in the truth nor in the prediction, so there is nothing to score (boat)" in (
        Page(tmp_path / "index.html").text
    )


def test_strange_names_are_shown_and_harmless(tmp_path: Path) -> None:
    name = 'a\n<script>alert("1")</script>\udcff.png'
    write(tmp_path, records=[record(name, 40, 5)], rejected=[(name, name)], picture=lambda _: None)
    page = Page(tmp_path / "index.html")
    assert 'a␊<script>alert("1")</script>\ufffd.png' in page.text
    assert "script" not in page.tags
    assert name.encode("utf-8", "surrogateescape").replace(b'"', b'""') in (tmp_path / "tiles.csv").read_bytes()


@pytest.mark.parametrize("truth", [True, False])
def test_a_report_of_nothing(tmp_path: Path, truth: bool) -> None:
    summary = write(tmp_path, truth=truth, records=[])
    assert summary["tiles"] == EMPTY_SUMMARY_TILES
    assert [item["share_of_prediction"] for item in summary["classes"]] == [None, None, None]
    assert "0 of 0 tiles" in Page(tmp_path / "index.html").text


def test_many_classes_leave_the_matrix_to_the_table(tmp_path: Path) -> None:
    classes = [{"id": number, "name": f"class {number}", "color": "#123456"} for number in range(70)]
    labels = Labels.model_validate({"name": "many", "classes": classes})
    counts = np.zeros((70, 71), np.int64)
    np.fill_diagonal(counts, 3)
    write(tmp_path, labels=labels, records=[TileRecord("a", 21, 10, counts, np.full(70, 3))])
    assert "70 classes are too many for this page" in Page(tmp_path / "index.html").text
    assert len(rows(tmp_path / "confusion.csv")) == 70


def test_a_failure_leaves_the_old_report(tmp_path: Path) -> None:
    write(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def broken() -> Iterator[TileRecord]:
        yield record("new", 1, 1)
        raise RuntimeError("a journal is gone")

    with pytest.raises(RuntimeError):
        write(tmp_path, records=broken())
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before

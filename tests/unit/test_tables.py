"""The CSV files of a report, byte by byte."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segbatch.evaluation.record import TileRecord
from segbatch.evaluation.scores import score
from segbatch.evaluation.tables import (
    tile_table,
    write_classes,
    write_confusion,
    write_rejected,
)
from segbatch.runs.files import csv_line
from segbatch.spec.labels import Labels

LABELS = Labels.model_validate(
    {
        "name": "three",
        "classes": [
            {"id": 3, "name": "road, paved", "color": "#808080"},
            {"id": -1, "name": "void", "color": "#000000", "ignore": True},
            {"id": 7, "name": 'tree "tall"', "color": "#00ff00"},
            {"id": 9, "name": "été", "color": "#0000ff"},
        ],
    }
)
COUNTS = np.array([[6, 2, 0, 0], [0, 4, 0, 0], [0, 0, 0, 0]])


def record(name: str, counts: np.ndarray | None = None) -> TileRecord:
    return TileRecord(name, 3, 5, counts, np.array([6, 6, 0]))


def read(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as handle:
        return list(csv.reader(handle))


def test_tiles_with_truth(tmp_path: Path) -> None:
    path = tmp_path / "tiles.csv"
    with tile_table(path, LABELS, truth=True) as add:
        add(record("a/1.png", COUNTS), score(COUNTS))
        add(record("a/2.png"), score(np.zeros_like(COUNTS)))
    assert path.read_bytes().decode() == (
        'tile,height,width,valid pixels,accuracy,mean IoU,mean Dice,"IoU road, paved","Dice road, paved",'
        '"IoU tree ""tall""","Dice tree ""tall""",IoU été,Dice été\n'
        "a/1.png,3,5,12,0.833333,0.708333,0.828571,0.750000,0.857143,0.666667,0.800000,,\n"
        "a/2.png,3,5,0,,,,,,,,,\n"
    )


def test_tiles_without_truth_hold_shares_of_the_whole_tile(tmp_path: Path) -> None:
    path = tmp_path / "tiles.csv"
    with tile_table(path, LABELS, truth=False) as add:
        add(record("a/1.png"), None)
    assert path.read_bytes().decode() == (
        'tile,height,width,"share road, paved","share tree ""tall""",share été\n'
        "a/1.png,3,5,0.400000,0.400000,0.000000\n"
    )


def test_classes(tmp_path: Path) -> None:
    path, scores = tmp_path / "classes.csv", score(COUNTS)
    write_classes(path, LABELS, scores, scores.share_of_prediction)
    assert path.read_bytes().decode() == (
        "id,name,tp,fp,fn,IoU,Dice,precision,recall,share of truth,share of prediction\n"
        '3,"road, paved",6,0,2,0.750000,0.857143,1.000000,0.750000,0.666667,0.500000\n'
        '7,"tree ""tall""",4,2,0,0.666667,0.800000,0.666667,1.000000,0.333333,0.500000\n'
        "9,été,0,0,0,,,,,0.000000,0.000000\n"
    )


def test_classes_without_truth(tmp_path: Path) -> None:
    path = tmp_path / "classes.csv"
    write_classes(path, LABELS, None, (0.25, 0.75, None))
    assert read(path)[1:] == [
        ["3", "road, paved", *[""] * 8, "0.250000"],
        ["7", 'tree "tall"', *[""] * 8, "0.750000"],
        ["9", "été", *[""] * 9],
    ]


def test_confusion_has_a_last_column_only_where_a_pixel_got_no_class(tmp_path: Path) -> None:
    path, names = tmp_path / "confusion.csv", ["road, paved", 'tree "tall"', "été"]
    write_confusion(path, LABELS, COUNTS)
    assert read(path) == [
        ["true class", *names],
        [names[0], "6", "2", "0"],
        [names[1], "0", "4", "0"],
        [names[2], "0", "0", "0"],
    ]
    lost = COUNTS.copy()
    lost[2, 3] = 5
    write_confusion(path, LABELS, lost)
    assert read(path)[0] == ["true class", *names, "no class"]
    assert read(path)[3] == [names[2], "0", "0", "0", "5"]


def test_rejected(tmp_path: Path) -> None:
    path = tmp_path / "rejected.csv"
    write_rejected(path, [("a b.png", "not a picture, but text")])
    assert path.read_bytes() == b'tile,reason\na b.png,"not a picture, but text"\n'


# Every string that os.fsdecode can give: whole characters, and half ones for bytes that are no UTF-8.
names = st.text(st.characters(exclude_categories=["Cs"]) | st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF))


@settings(deadline=None)
@given(names)
def test_any_name_comes_back(name: str) -> None:
    line = csv_line([name, 1])
    assert line.endswith(b"\n")
    text = io.StringIO(line.decode("utf-8", "surrogateescape"), newline="")
    ((back, one),) = csv.reader(text, strict=True)
    # Bytes that are no UTF-8 may form a character together; as bytes they are the same.
    assert back.encode("utf-8", "surrogateescape") == name.encode("utf-8", "surrogateescape")
    assert one == "1"


def test_a_failure_leaves_the_old_table(tmp_path: Path) -> None:
    path = tmp_path / "rejected.csv"
    write_rejected(path, [("old", "reason")])
    before = path.read_bytes()

    def broken() -> Iterator[tuple[str, str]]:
        yield "new", "reason"
        raise RuntimeError("the journal is gone")

    with pytest.raises(RuntimeError):
        write_rejected(path, broken())
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]

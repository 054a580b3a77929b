"""Labels: raw values, ids and indices; the built-in sets against their public tables."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from cityscapesscripts.helpers import labels as public
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from segbatch.spec.builtin import builtin_document, builtin_names
from segbatch.spec.labels import IGNORED, UNCLAIMED, LabelClass, Labels


def builtin(name: str) -> Labels:
    document = builtin_document(name)
    assert document.problems == []
    return Labels.model_validate(document.value)


def labels(*classes: dict[str, object], **more: object) -> Labels:
    colored = [{"name": f"c{position}", "color": "#000000"} | item for position, item in enumerate(classes)]
    return Labels.model_validate({"name": "x", "classes": colored} | more)


@st.composite
def label_sets(draw: st.DrawFn) -> Labels:
    """Label sets in which classes claim disjoint, arbitrary raw values."""
    count = draw(st.integers(2, 8))
    ids = draw(st.lists(st.integers(0, 255), min_size=count, max_size=count, unique=True))
    owners = draw(st.lists(st.integers(-1, count - 1), min_size=256, max_size=256))
    ignored = draw(st.lists(st.booleans(), min_size=count, max_size=count))
    classes = []
    for position in range(count):
        values = [raw for raw in range(256) if owners[raw] == position]
        ignore = (ignored[position] and position > 1) or not values
        classes.append({"id": ids[position], "values": values, "ignore": ignore})
    if sum(not item["ignore"] for item in classes) < 2:
        classes[0] |= {"values": [0, *(v for v in classes[0]["values"] if v not in (0, 255))], "ignore": False}
        classes[1] |= {"values": [255, *(v for v in classes[1]["values"] if v not in (0, 255))], "ignore": False}
        for item in classes[2:]:
            item["values"] = [v for v in item["values"] if v not in (0, 255)]
        classes[0]["values"] = [v for v in classes[0]["values"] if v not in classes[1]["values"]]
    return labels(*classes, unclaimed=draw(st.sampled_from(["reject", "ignore"])))


@settings(max_examples=40, deadline=None)
@given(label_sets())
def test_raw_to_index_maps_claimed_values_to_their_class_and_nothing_else(given: Labels) -> None:
    table = given.raw_to_index()
    assert len(table) == 256
    scored = [item for item in given.classes if not item.ignore]
    for raw in range(256):
        owner = [item for item in given.classes if raw in item.raw_values]
        if not owner:
            assert table[raw] == (UNCLAIMED if given.unclaimed == "reject" else IGNORED)
        elif owner[0].ignore:
            assert table[raw] == IGNORED
        else:
            assert scored[table[raw]] is owner[0]


@settings(max_examples=40, deadline=None)
@given(label_sets())
def test_written_masks_read_back_as_the_same_classes(given: Labels) -> None:
    written, read = given.index_to_written("ids"), given.id_to_index()
    assert [read[value] for value in written] == list(range(len(given.scored)))
    raw, read = given.index_to_written("raw"), given.raw_to_index()
    assert [read[value] for value in raw] == list(range(len(given.scored)))
    for value, item in zip(written, given.scored, strict=True):
        assert tuple(given.palette()[3 * value : 3 * value + 3]) == item.color


def test_values_are_numbers_ranges_and_lists() -> None:
    assert LabelClass(id=3, name="a", color=(1, 2, 3)).raw_values == (3,)
    made = labels({"id": 0, "values": "0-3"}, {"id": 1, "values": [4, "6 - 8", "10"]}, {"id": 2, "values": 255})
    assert [item.raw_values for item in made.classes] == [(0, 1, 2, 3), (4, 6, 7, 8, 10), (255,)]


@pytest.mark.parametrize("values", ["9-300", "7-3", -1, 256, [1, True], [1.5], "a", ["1-2-3"], {"a": 1}])
def test_values_that_are_none(values: object) -> None:
    with pytest.raises(ValidationError, match="expected"):
        labels({"id": 0}, {"id": 1, "values": values})


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([{"id": 0}, {"id": 0}], "class id 0 is given twice, to classes 1 and 2"),
        ([{"id": 0, "name": "a"}, {"id": 1, "name": "a"}], "class name 'a' is given twice, to classes 1 and 2"),
        ([{"id": 0, "values": "0-9"}, {"id": 1, "values": [5, 6, 8, 200]}],
         "raw value 5-6, 8 is claimed by both 'c0' and 'c1'"),
        ([{"id": 0, "values": 7}, {"id": 7}], "raw value 7 is claimed by both 'c0' and 'c1'"),
        ([{"id": 0}, {"id": -1}], "class 'c1' has id -1, which no mask can hold: set `ignore: true`"),
        ([{"id": 0}, {"id": 1, "values": []}], "class 'c1' has no raw values: give `values:` at least one"),
        ([{"id": 0}, {"id": 1, "ignore": True}], "expected 2 to 254 classes that are not ignored, received 1"),
        ([{"id": number} for number in range(255)], "expected 2 to 254 classes that are not ignored, received 255"),
    ],
)  # fmt: skip
def test_labels_that_cannot_be(classes: list[dict[str, object]], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        labels(*classes)
    assert message in str(caught.value)


def test_the_built_in_sets() -> None:
    assert builtin_names() == ["buildings", "camvid", "cityscapes", "cityscapes-19", "forest"]
    assert all(builtin(name).name == name for name in builtin_names())


def test_forest_cuts_jpeg_masks_in_the_middle() -> None:
    assert builtin("forest").raw_to_index() == bytes([0] * 128 + [1] * 128)


def test_buildings() -> None:
    table = builtin("buildings").raw_to_index()
    assert (table[0], table[255]) == (0, 1)
    assert set(table[1:255]) == {UNCLAIMED}
    assert builtin("buildings").index_to_written("raw") == bytes([0, 255])


def test_cityscapes_is_the_public_table() -> None:
    ours = builtin("cityscapes")
    assert [(item.id, item.name, item.category, item.color) for item in ours.classes] == [
        (label.id, label.name, label.category, label.color) for label in public.labels
    ]
    assert [item.id for item in ours.scored] == list(range(34))
    table = ours.raw_to_index()
    assert list(table[:34]) == list(range(34))
    assert set(table[34:]) == {UNCLAIMED}


def test_cityscapes_19_is_the_public_table() -> None:
    ours = builtin("cityscapes-19")
    trained = sorted((label for label in public.labels if 0 <= label.trainId < 255), key=lambda label: label.trainId)
    assert [(item.id, item.name, item.category, item.color, item.raw_values) for item in ours.scored] == [
        (label.trainId, label.name, label.category, label.color, (label.id,)) for label in trained
    ]
    table = ours.raw_to_index()
    for label in public.labels:
        if label.id >= 0:
            assert table[label.id] == (label.trainId if not label.ignoreInEval else IGNORED)
    # 255 is what train id masks hold: such a mask is refused by name instead of being read as label ids.
    assert set(table[34:]) == {UNCLAIMED}


@pytest.mark.data
def test_camvid_is_the_source_s_table(shared_data: Path) -> None:
    with (shared_data / "camvid" / "classes.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [(item.id, item.name, item.color, item.ignore) for item in builtin("camvid").classes] == [
        (int(row["id"]), row["name"], (int(row["r"]), int(row["g"]), int(row["b"])), row["ignore"] == "1")
        for row in rows
    ]

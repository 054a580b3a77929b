"""Splits: no group in two parts, the same files the same split everywhere."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segbatch.errors import InputError
from segbatch.runs import sorting
from segbatch.runs.listing import Listing
from segbatch.runs.splits import Place, assigned, hash_fraction, read_split, write_split
from segbatch.runs.tiles import Tile
from segbatch.spec.data import Split


def assign(found: Listing, split: Split) -> dict[str, tuple[str, str]]:
    """Group and part by tile."""
    return {tile.name: (group, part) for tile, group, part in assigned(found, split)}


def listing(names: list[str], rows: dict[str, dict[str, str]] | None = None) -> Listing:
    return Listing(
        [Tile(name, name) for name in sorted(names)],
        "",
        "",
        rows=[rows[name] for name in sorted(names)] if rows else [],
    )


NAMES = st.lists(
    st.builds("{}/{}.png".format, st.integers(0, 9), st.integers(0, 99)), min_size=1, max_size=60, unique=True
)


@given(names=NAMES, seed=st.integers(0, 5), by=st.sampled_from(["hash", "counts"]))
def test_no_group_lies_in_two_parts(names: list[str], seed: int, by: str) -> None:
    how = (
        {"fractions": {"train": 0.5, "val": 0.3, "test": 0.2}} if by == "hash" else {"counts": {"train": 20, "val": 9}}
    )
    split = Split.model_validate({"by": by, "seed": seed, "group": {"folder": 1}, **how})
    parts: dict[str, set[str]] = {}
    for name, (group, part) in assign(listing(names), split).items():
        assert group == name.split("/")[0]
        parts.setdefault(group, set()).add(part)
    assert all(len(found) == 1 for found in parts.values())


@given(names=NAMES, more=NAMES)
def test_a_tile_keeps_its_part_when_others_come(names: list[str], more: list[str]) -> None:
    few = assign(listing(names), Split())
    many = assign(listing(sorted({*names, *more})), Split())
    assert all(many[name] == few[name] for name in names)


def test_shares_come_out_near_what_was_asked() -> None:
    names = [f"{number}.png" for number in range(5000)]
    counts = Counter(part for _, part in assign(listing(names), Split()).values())
    assert counts["val"] == pytest.approx(1000, abs=100)
    assert set(counts) == {"train", "val"}


def test_the_hash_is_the_same_on_every_machine() -> None:
    # SHA-256 of "0\0scene-7" begins with these 8 bytes; the upper 53 bits over 2**53.
    import hashlib

    first = hashlib.sha256(b"0\0scene-7").hexdigest()[:16]
    assert hash_fraction("scene-7", 0) == (int(first, 16) >> 11) / 2**53
    assert hash_fraction("scene-7", 0) != hash_fraction("scene-7", 1)


def test_counts_are_exact_without_groups() -> None:
    names = [f"{number}.png" for number in range(100)]
    split = Split.model_validate({"by": "counts", "counts": {"train": 60, "val": 15, "test": 20}})
    counts = Counter(part for _, part in assign(listing(names), split).values())
    assert counts == {"train": 60, "val": 15, "test": 20}


def test_counts_beyond_what_is_there_are_refused() -> None:
    split = Split.model_validate({"by": "counts", "counts": {"train": 60}})
    with pytest.raises(InputError, match="ask for 60 tiles, there are 2"):
        assign(listing(["a.png", "b.png"]), split)


def test_a_column_names_the_part() -> None:
    rows = {"a.png": {"set": "learn"}, "b.png": {"set": "check"}, "c.png": {"set": "unused"}}
    split = Split.model_validate({"by": "column", "column": "set", "parts": {"train": ["learn"], "val": ["check"]}})
    assert {name: part for name, (_, part) in assign(listing(list(rows), rows), split).items()} == {
        "a.png": "train",
        "b.png": "val",
    }


def test_a_column_that_tears_a_group_apart_is_refused() -> None:
    rows = {"a.png": {"split": "train", "city": "x"}, "b.png": {"split": "val", "city": "x"}}
    split = Split.model_validate({"by": "column", "group": {"column": "city"}})
    with pytest.raises(InputError, match=r"group 'x' would lie in two parts: a.png in train, b.png in val"):
        assign(listing(list(rows), rows), split)


def test_values_that_mean_nothing_are_listed() -> None:
    rows = {"a.png": {"split": "dev"}}
    with pytest.raises(InputError, match=r"column 'split' hold 'dev', expected 'test', 'train', 'val'"):
        assign(listing(["a.png"], rows), Split(by="column"))


def test_folders_are_parts() -> None:
    names = ["train/a.png", "val/b.png", "other/c.png"]
    assert {name: part for name, (_, part) in assign(listing(names), Split(by="folder")).items()} == {
        "train/a.png": "train",
        "val/b.png": "val",
    }


def test_a_pattern_groups_the_tiles_of_a_scene() -> None:
    split = Split.model_validate({"group": {"pattern": r"(scene\d+)_"}})
    found = assign(listing(["scene1_r0.png", "scene1_r1.png", "scene2_r0.png"]), split)
    assert [group for group, _ in found.values()] == ["scene1", "scene1", "scene2"]
    with pytest.raises(InputError, match=r"does not match 'other\.png'"):
        assign(listing(["other.png"]), split)


def places(found: dict[str, tuple[str, str]]) -> list[Place]:
    return [(name, *found[name]) for name in sorted(found)]


def test_split_csv_comes_back_and_its_digest_tells_changes(tmp_path: Path) -> None:
    found = assign(listing(["a,\n.png", "b.png"]), Split())
    first = write_split(tmp_path / "split.csv", places(found))
    assert read_split(tmp_path / "split.csv") == found
    assert write_split(tmp_path / "again.csv", places(found)) == first
    others = assign(listing(["a,\n.png", "c.png"]), Split())
    assert write_split(tmp_path / "other.csv", places(others)) != first


@given(
    names=NAMES,
    how=st.sampled_from(
        [
            {"by": "hash", "fractions": {"train": 0.5, "val": 0.3, "test": 0.2}, "group": {"folder": 1}},
            {"by": "counts", "counts": {"train": 4, "val": 2}, "group": {"folder": 1}},
            {"by": "folder", "parts": {"train": ["1", "2"], "val": ["3"]}, "group": {"folder": 1}},
        ]
    ),
)
def test_a_split_does_not_depend_on_how_much_is_held_in_memory(names: list[str], how: dict[str, object]) -> None:
    split = Split.model_validate(how)

    def found() -> object:
        try:
            return assign(listing(names), split)
        except InputError as error:
            return str(error)

    with mock.patch.object(sorting, "PIECE", 1):
        little = found()
    assert little == found()

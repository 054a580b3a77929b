"""Finding and pairing files."""

from __future__ import annotations

import os
import random
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segbatch.errors import InputError
from segbatch.runs import sorting
from segbatch.runs.listing import find_files, list_tiles, mask_name
from segbatch.spec.data import Data

STEM = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="\0/."), min_size=1, max_size=12),
    st.binary(min_size=1, max_size=12).map(os.fsdecode).filter(lambda name: not set(name) & set("\0/.")),
)
STEMS = st.sets(STEM, min_size=1, max_size=12)


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def data(root: Path, **changes: object) -> Data:
    return Data.model_validate({"root": str(root), "images": "images", "masks": "masks"} | changes)


@given(both=STEMS, images=STEMS, masks=STEMS, piece=st.sampled_from([1, 300, sorting.PIECE]))
def test_pairing_is_by_name_alone(
    tmp_path_factory: pytest.TempPathFactory, both: set[str], images: set[str], masks: set[str], piece: int
) -> None:
    """However little of the list is held in memory."""
    root = tmp_path_factory.mktemp("pairs")
    for stem in sorted(both | images, key=lambda _: random.random()):
        touch(root, f"images/{stem}.jpg")
    for stem in sorted(both | masks, key=lambda _: random.random()):
        touch(root, f"masks/{stem}.png")
    with mock.patch.object(sorting, "PIECE", piece):
        listing = list_tiles(data(root), need_masks=False)
    paired = {tile.image: tile.mask for tile in listing.tiles if tile.mask}
    expected = (both | images) & (both | masks)
    assert paired == {f"{stem}.jpg": f"{stem}.png" for stem in expected}
    assert set(listing.unpaired_images) == {f"{stem}.jpg" for stem in (both | images) - expected}
    assert set(listing.unpaired_masks) == {f"{stem}.png" for stem in (both | masks) - expected}
    assert list(listing.tiles) == sorted(listing.tiles)


def test_cityscapes_pair_by_suffix_in_folders(tmp_path: Path) -> None:
    touch(tmp_path, "images/ulm/ulm_000_leftImg8bit.png", "images/ulm/ulm_001_leftImg8bit.png")
    touch(tmp_path, "masks/ulm/ulm_000_gtFine_labelIds.png", "masks/ulm/ulm_000_gtFine_color.png")
    pair = {"by": "suffix", "image_suffix": "_leftImg8bit.png", "mask_suffix": "_gtFine_labelIds.png"}
    listing = list_tiles(data(tmp_path, pair=pair), need_masks=True)
    assert [(tile.image, tile.mask) for tile in listing.tiles] == [
        ("ulm/ulm_000_leftImg8bit.png", "ulm/ulm_000_gtFine_labelIds.png")
    ]
    assert listing.unpaired_images == ["ulm/ulm_001_leftImg8bit.png"]


def test_a_table_pairs_what_its_rows_say(tmp_path: Path) -> None:
    (tmp_path / "meta.csv").write_text('image,mask,city\n10_sat.jpg,10_mask.jpg,a\n"9, sat.jpg",9_mask.jpg,b\n')
    split = {"by": "hash", "group": {"column": "city"}}
    listing = list_tiles(data(tmp_path, pair={"by": "csv", "file": "meta.csv"}, split=split), need_masks=True)
    assert [(tile.image, tile.mask) for tile in listing.tiles] == [
        ("10_sat.jpg", "10_mask.jpg"),
        ("9, sat.jpg", "9_mask.jpg"),
    ]
    assert listing.rows == [{"city": "a"}, {"city": "b"}]


def test_a_table_without_the_column_names_those_it_has(tmp_path: Path) -> None:
    (tmp_path / "meta.csv").write_text("picture,mask\na.jpg,a.png\n")
    with pytest.raises(InputError, match=r"no column 'image'. Its columns: picture, mask"):
        list_tiles(data(tmp_path, pair={"by": "csv", "file": "meta.csv"}), need_masks=True)


@pytest.mark.parametrize("path", ["../outside.jpg", "/etc/picture.jpg", "a/../../b.jpg"])
def test_a_table_cannot_lead_outside(tmp_path: Path, path: str) -> None:
    (tmp_path / "meta.csv").write_text(f"image,mask\n{path},a.png\n")
    with pytest.raises(InputError, match="leaves the folder"):
        list_tiles(data(tmp_path, pair={"by": "csv", "file": "meta.csv"}), need_masks=True)


def test_two_images_of_one_mask_name_are_told(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.jpg", "images/a.png", "images/b/a.png", "masks/a.png")
    listing = list_tiles(data(tmp_path), need_masks=False)
    assert listing.duplicates == [("a.jpg", "a.png")]


def test_odd_names_and_hidden_files(tmp_path: Path) -> None:
    odd = [
        "sp ace.jpg",
        'quo"te.jpg',
        "new\nline.jpg",
        "comma,.JPG",
        os.fsdecode(b"by\xffte.png"),
        "d..ots/x.jpeg",
        "x.TIF",
        "y.tiff",
    ]
    touch(tmp_path, *odd, "._apple.jpg", ".hidden/x.jpg", "notes.txt", "scene.jp2")
    assert sorted(find_files(tmp_path)) == sorted(odd)


def test_a_folder_linked_into_itself_is_read_once(tmp_path: Path) -> None:
    touch(tmp_path, "a/x.jpg")
    (tmp_path / "a" / "loop").symlink_to(tmp_path / "a")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert len(list(find_files(tmp_path))) == 1


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "is no folder"),
        (("images/notes.txt",), "no pictures in"),
        (("images/a.jpg", "masks/b.png"), "none of the 1 images has a mask. An image without mask: a.jpg"),
    ],
)
def test_nothing_to_do_says_why(tmp_path: Path, names: tuple[str, ...], message: str) -> None:
    touch(tmp_path, *names)
    with pytest.raises(InputError, match=message):
        list_tiles(data(tmp_path), need_masks=True)


def test_masks_go_where_their_images_lie() -> None:
    assert mask_name("a.b/tile.one.jpg") == "a.b/tile.one.png"


def test_predictions_are_found_by_image_or_truth_name(tmp_path: Path) -> None:
    touch(tmp_path, "images/a_sat.jpg", "masks/a_mask.png", "out/a_mask.png")
    pair = {"by": "suffix", "image_suffix": "_sat.jpg", "mask_suffix": "_mask.png"}
    listing = list_tiles(data(tmp_path, pair=pair, predictions={"folder": "out"}), need_masks=True)
    assert [tile.prediction for tile in listing.tiles] == ["a_mask.png"]


def test_predictions_that_fit_nothing_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.jpg", "masks/a.png", "out/z.png")
    with pytest.raises(InputError, match=r"Expected, for a.jpg, .* found, for example, z.png"):
        list_tiles(data(tmp_path, predictions={"folder": "out"}), need_masks=True)


@given(
    images=st.lists(st.sampled_from(["a", "b", "a-b", "c", "d"]), unique=True),
    masks=st.lists(st.sampled_from(["a_m", "b_m", "a-b_m", "c_m"]), unique=True),
    predictions=st.lists(st.sampled_from(["a", "a_m", "b_m", "a-b", "d", "z"]), unique=True),
    piece=st.sampled_from([1, sorting.PIECE]),
)
def test_predictions_go_by_the_image_first_and_then_by_its_truth(
    tmp_path_factory: pytest.TempPathFactory, images: list[str], masks: list[str], predictions: list[str], piece: int
) -> None:
    root = tmp_path_factory.mktemp("pairs")
    touch(root, *(f"images/{name}.jpg" for name in images), *(f"masks/{name}.png" for name in masks))
    touch(root, *(f"out/{name}.png" for name in predictions))
    expected = {}
    for name in images:
        if f"{name}_m" in masks:
            found = next((stem for stem in (name, f"{name}_m") if stem in predictions), None)
            expected[f"{name}.jpg"] = f"{found}.png" if found else ""
    pair = {"by": "suffix", "image_suffix": ".jpg", "mask_suffix": "_m.png"}
    asked = data(root, pair=pair, predictions={"folder": "out"})
    with mock.patch.object(sorting, "PIECE", piece):
        if not any(expected.values()):
            with pytest.raises(InputError):
                list_tiles(asked, need_masks=True)
            return
        listing = list_tiles(asked, need_masks=True)
    assert {tile.image: tile.prediction for tile in listing.tiles} == expected
    assert list(listing.tiles) == sorted(listing.tiles)


def test_a_long_listing_tells_how_far_it_is(tmp_path: Path) -> None:
    touch(tmp_path, *(f"images/{number}.jpg" for number in range(2500)))
    told: list[int] = []
    listing = list_tiles(data(tmp_path, masks=None), need_masks=False, tick=told.append)
    assert (told, len(listing.tiles)) == ([1000, 2000], 2500)

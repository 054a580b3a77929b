"""Where images come from: folders, patterns, several roots and lists, with any names and any links."""

from __future__ import annotations

import fnmatch
import os
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from segbatch.errors import InputError
from segbatch.runs import sorting
from segbatch.runs.listing import list_tiles
from segbatch.runs.walk import find_below
from segbatch.spec.data import Data

NAME = st.text("ab. \n\"'é*[", min_size=1, max_size=4).filter(lambda name: name.strip(".") and "/" not in name)
RAW = (
    st.binary(min_size=1, max_size=4)
    .map(os.fsdecode)
    .filter(lambda name: not set(name) & set("/\0") and name[0] != ".")
)
FOLDERS = st.lists(st.one_of(NAME, RAW).filter(lambda name: name not in (".", "..")), max_size=3)
FILES = st.lists(
    st.tuples(FOLDERS, st.one_of(NAME, RAW), st.sampled_from([".jpg", ".PNG", ".txt"])), min_size=1, max_size=12
)


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def names(root: Path, images: object, **more: object) -> list[str]:
    data = Data.model_validate({"root": str(root), "images": images} | more)
    return [tile.image for tile in list_tiles(data, need_masks=False).tiles]


def matches(path: list[str], pattern: list[str]) -> bool:
    """What a pattern means, the slow way."""
    if not pattern or not path:
        return not pattern and not path
    if pattern[0] == "**":
        return matches(path, pattern[1:]) or (len(path) > 1 and matches(path[1:], pattern))
    return fnmatch.fnmatchcase(path[0], pattern[0]) and matches(path[1:], pattern[1:])


PARTS = st.sampled_from(["*", "**", "a*", "[ab]", "?", "*.jpg", "*é*"])


@settings(max_examples=50)
@given(files=FILES, pattern=st.lists(PARTS, max_size=3), last=st.sampled_from(["*", "*.jpg", "a*", "?[.b]*"]))
def test_patterns_find_what_they_mean(
    tmp_path_factory: pytest.TempPathFactory, files: list[tuple[list[str], str, str]], pattern: list[str], last: str
) -> None:
    root = tmp_path_factory.mktemp("files")
    made = set()
    for folders, stem, suffix in files:
        path = root.joinpath(*folders, stem + suffix)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        except (FileExistsError, NotADirectoryError):
            continue  # A folder of this name is a file already.
        if path.is_file():
            made.add(path.relative_to(root).as_posix())
    shown = {name for name in made if not any(part.startswith(".") for part in name.split("/"))}
    pictures = {name for name in shown if os.path.splitext(name)[1].lower() in (".jpg", ".png")}
    parts = (*pattern, last)
    found = list(find_below([("", str(root))], parts))
    assert len(found) == len(set(found))
    assert set(found) == {name for name in pictures if matches(name.split("/"), list(parts))}
    with mock.patch.object(sorting, "PIECE", 1):
        if pictures and len({os.path.splitext(name)[0] for name in pictures}) == len(pictures):
            assert names(root, ".") == sorted(pictures)


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        ("2019", ["a.jpg", "summer/b.jpg"]),
        ("2019/**/*.jpg", ["a.jpg", "summer/b.jpg"]),
        ("2019/**", ["a.jpg", "summer/b.jpg"]),
        ("*/[ac].jpg", ["2018/c.jpg", "2019/a.jpg"]),
        (["2018", "2019"], ["2018/c.jpg", "2019/a.jpg", "2019/summer/b.jpg"]),
        (["2018", "2019/summer/*.jpg"], ["2018/c.jpg", "2019/summer/b.jpg"]),
        (["2019/summer", "2019"], ["a.jpg", "summer/b.jpg"]),
        (["2019/*.jpg", "2019/[a-z].jpg"], ["a.jpg"]),
        ("odd [1]", ["d.jpg"]),
    ],
)
def test_names_start_from_the_deepest_folder_that_holds_all(
    tmp_path: Path, images: object, expected: list[str]
) -> None:
    touch(tmp_path, "2018/c.jpg", "2019/a.jpg", "2019/summer/b.jpg", "2019/notes.txt", "odd [1]/d.jpg")
    assert names(tmp_path, images) == expected


def test_roots_far_apart_keep_their_tiles_apart(tmp_path: Path) -> None:
    touch(tmp_path, "one/x/a.jpg", "two/x/a.jpg")
    assert names(tmp_path / "elsewhere", [str(tmp_path / "one"), "../two/x"]) == ["one/x/a.jpg", "two/x/a.jpg"]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ("gone/*.jpg", r"data\.images: .*gone is no folder"),
        ("2018/*.bmp", r"no pictures in .*2018 match '\*\.bmp'"),
        (["2018", "2019/*.gif"], r"no pictures in .*2019 match '\*\.gif'"),
        ("*/../2018", r"no '\.\.' behind the first wildcard"),
    ],
)
def test_sources_without_pictures_are_named(tmp_path: Path, images: object, message: str) -> None:
    touch(tmp_path, "2018/c.jpg", "2019/a.jpg")
    with pytest.raises(InputError, match=message):
        names(tmp_path, images)


def test_links_are_followed_once_and_give_the_same_names_everywhere(tmp_path: Path) -> None:
    touch(tmp_path, "archive/real/x.jpg", "elsewhere/y.jpg", "elsewhere/deep/z.jpg", "archive/.hidden/h.jpg")
    archive = tmp_path / "archive"
    (archive / "loop").symlink_to(archive)
    (archive / "twice").symlink_to("real")
    (archive / "b").symlink_to(tmp_path / "elsewhere")
    (archive / "c").symlink_to(tmp_path / "elsewhere" / "deep")
    (archive / "real" / "up").symlink_to(tmp_path)
    (archive / "shown").symlink_to(".hidden")
    (archive / "gone").symlink_to("nowhere")
    (archive / "file.jpg").symlink_to("real/x.jpg")
    assert names(tmp_path, "archive") == ["b/deep/z.jpg", "b/y.jpg", "file.jpg", "real/x.jpg", "shown/h.jpg"]
    assert names(tmp_path, "archive/[t]*/*.jpg") == ["twice/x.jpg"], "not found without the link"


def test_folders_deeper_than_open_files_are_read(tmp_path: Path) -> None:
    deep = "/".join(["d"] * 200)
    touch(tmp_path, f"{deep}/x.jpg", "d/e/y.jpg")
    assert names(tmp_path, ".") == [f"{deep}/x.jpg", "d/e/y.jpg"]


@pytest.mark.parametrize("separator", ["\n", "\r\n", "\0"])
def test_a_list_names_the_images_to_use(tmp_path: Path, separator: str) -> None:
    odd = os.fsdecode(b"by\xffte.jpg")
    wanted = ["b/sp ace.jpg", "b2.jpg", str(tmp_path / "images" / odd)]
    wanted += ["new\nline.jpg"] if separator == "\0" else []
    (tmp_path / "list.txt").write_bytes(os.fsencode(separator.join([*wanted, "b2.jpg", ""])))
    found = names(tmp_path, "images", image_list="list.txt")
    assert found == sorted(["b/sp ace.jpg", "b2.jpg", odd, *wanted[3:]])


@pytest.mark.parametrize("path", ["../outside.jpg", "/etc/picture.jpg", "a/../../b.jpg"])
def test_a_list_cannot_lead_outside(tmp_path: Path, path: str) -> None:
    (tmp_path / "list.txt").write_text(f"a.jpg\n{path}\n")
    with pytest.raises(InputError, match="leaves the folder"):
        names(tmp_path, "images", image_list="list.txt")
    with pytest.raises(InputError, match=r"data\.image_list: cannot read .*none\.txt"):
        names(tmp_path, "images", image_list="none.txt")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"images": ["a", "b"], "image_list": "list.txt"}, "paths of a list start from one folder"),
        ({"images": "a/*.jpg", "pair": {"by": "csv", "file": "t.csv"}}, "paths of a table start from one folder"),
        ({"image_list": "l.txt", "pair": {"by": "csv", "file": "t.csv"}}, "table names the images already"),
        ({"images": []}, "at least 1 item"),
    ],
)
def test_sources_that_contradict_each_other_are_refused(more: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Data.model_validate(more)


def test_two_suffixes_that_would_write_one_mask_are_told(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.xg", "images/a.jpg", "images/a.jpeg", "masks/a.png")
    data = {
        "root": str(tmp_path),
        "images": "images",
        "pair": {"by": "suffix", "image_suffix": "g", "mask_suffix": "p"},
    }
    listing = list_tiles(Data.model_validate(data), need_masks=False)
    assert listing.duplicates == [("a.jpeg", "a.jpg")]

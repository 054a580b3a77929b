"""Packs: what goes in comes out under its own name; what is damaged is refused or rejected by name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segbatch.cli import cli
from segbatch.errors import InputError, SegbatchError
from segbatch.runs import packs
from segbatch.runs.listing import find_files, list_tiles, mask_name
from segbatch.runs.packing import pack_folder
from segbatch.runs.splits import assigned
from segbatch.spec.data import Data, Split

ODD = (
    "plain.jpg",
    "a b/two  spaces.png",
    "quo\"te'd, comma.jpg",
    "line\nbreak/new\nline.png",
    "ünïcode/日本.jpg",
    "x.JPG",
)
NOT_UTF8 = os.fsdecode(b"latin-\xe9/\xff.png")


def fill(folder: Path, contents: dict[str, bytes]) -> Path:
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def unpacked(folder: Path) -> dict[str, bytes]:
    """Read a pack as jobs do."""
    packs.forget()
    return {packs.plain_name(name): packs.read_bytes(folder / name) for name in find_files(folder)}


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_names_of_any_kind_come_back(tmp_path: Path) -> None:
    contents = {name: name.encode("utf-8", "surrogateescape") * 3 for name in (*ODD, NOT_UTF8, "empty.png")}
    contents["empty.png"] = b""
    contents["long/" + "/".join("d" * 90 for _ in range(4)) + ".jpg"] = bytes(5000)
    source = fill(tmp_path / "in", {**contents, ".hidden.jpg": b"no", "notes.txt": b"no picture"})
    packed = pack_folder(source, tmp_path / "out", size=4096)
    assert packed.tiles == len(contents)
    assert packed.archives > 2
    assert unpacked(tmp_path / "out") == contents


def test_archives_are_what_tar_reads(tmp_path: Path) -> None:
    source = fill(tmp_path / "in", {name: name.encode() for name in ODD})
    pack_folder(source, tmp_path / "out", size=1 << 20)
    with tarfile.open(tmp_path / "out" / "pack-00000.tar") as archive:
        found = {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
    assert found == {name: name.encode() for name in ODD}


def test_bytes_follow_from_names_and_contents(tmp_path: Path) -> None:
    contents = {f"{n % 3}/{n}.jpg": bytes([n]) * n * 10 for n in range(40)}
    fill(tmp_path / "one", contents)
    fill(tmp_path / "two", dict(reversed(contents.items())))
    for name in ("one", "two"):
        pack_folder(tmp_path / name, tmp_path / f"{name}-packed", size=9000)
    assert files(tmp_path / "one-packed") == files(tmp_path / "two-packed")


NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1, max_size=12)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(NAMES.filter(lambda name: not name.startswith(".")), st.binary(max_size=2000), min_size=1))
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, found: dict[str, bytes]) -> None:
    folder = tmp_path_factory.mktemp("trip")
    contents = {f"{len(name) % 2}/{name}.png": content for name, content in found.items()}
    pack_folder(fill(folder / "in", contents), folder / "out", size=3000)
    assert unpacked(folder / "out") == contents
    sizes = [path.stat().st_size for path in (folder / "out").glob("*.tar")]
    assert all(size % 512 == 0 for size in sizes)


def test_an_interrupted_call_goes_on(tmp_path: Path) -> None:
    contents = {f"{n:02}.jpg": bytes([n]) * 500 for n in range(20)}
    source = fill(tmp_path / "in", contents)
    pack_folder(source, tmp_path / "whole", size=8000)
    # As a kill leaves it: whole archives, a temporary file, no pack.json; then one picture changes.
    pack_folder(source, tmp_path / "out", size=8000)
    (tmp_path / "out" / "pack.json").unlink()
    (tmp_path / "out" / ".pack-00003.tar.99-ab.tmp").write_bytes(b"torn")
    with pytest.raises(InputError, match="written last"):
        list(find_files(tmp_path / "out"))
    again = pack_folder(source, tmp_path / "out", size=8000)
    assert again.kept == again.archives > 2
    assert files(tmp_path / "out") == files(tmp_path / "whole")
    (tmp_path / "out" / "pack.json").unlink()
    (source / "07.jpg").write_bytes(bytes(500))
    third = pack_folder(source, tmp_path / "out", size=8000)
    assert third.kept == third.archives - 1
    assert unpacked(tmp_path / "out")["07.jpg"] == bytes(500)
    # Larger archives are fewer: what is left of the smaller ones goes.
    (tmp_path / "out" / "pack.json").unlink()
    assert pack_folder(source, tmp_path / "out", size=1 << 20).archives == 1
    assert len(list((tmp_path / "out").iterdir())) == 3


def test_what_cannot_be_packed(tmp_path: Path) -> None:
    source = fill(tmp_path / "in", {"a.jpg": b"a"})
    with pytest.raises(InputError, match="lies in"):
        pack_folder(source, source / "out", size=1000)
    with pytest.raises(InputError, match="is no folder"):
        pack_folder(tmp_path / "absent", tmp_path / "out", size=1000)
    with pytest.raises(InputError, match=r"other files, such as 'b\.txt'"):
        pack_folder(source, fill(tmp_path / "full", {"b.txt": b""}), size=1000)
    pack_folder(source, tmp_path / "out", size=1000)
    with pytest.raises(InputError, match="a finished pack of 1 pictures"):
        pack_folder(source, tmp_path / "out", size=1000)
    (source / "broken.jpg").symlink_to("nowhere")
    with pytest.raises(SegbatchError, match=r"broken\.jpg: No such file"):
        pack_folder(source, tmp_path / "other", size=1000)


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    contents = {f"{n:02}.jpg": bytes([n]) * 500 for n in range(20)}
    pack_folder(fill(tmp_path / "in", contents), tmp_path / "pack", size=8000)
    return tmp_path / "pack"


def spoil_size(pack: Path) -> None:
    os.truncate(pack / "pack-00001.tar", 3000)


def spoil_index(pack: Path) -> None:
    index = pack / "pack-00001.csv"
    index.write_bytes(index.read_bytes()[:-20])


def spoil_archive(pack: Path) -> None:
    (pack / "pack-00001.tar").unlink()


@pytest.mark.parametrize(
    ("spoil", "named", "why"),
    [
        (spoil_size, "pack-00001.tar", "3,000 bytes"),
        (spoil_index, "pack-00001.csv", "cut off or changed"),
        (spoil_archive, "pack-00001.tar", "No such file"),
    ],
)
def test_a_damaged_pack_is_refused_when_listed(pack: Path, spoil: object, named: str, why: str) -> None:
    spoil(pack)  # type: ignore[operator]
    with pytest.raises(InputError, match=why) as caught:
        list(find_files(pack))
    assert named in str(caught.value)


def test_what_changes_later_is_told_when_read(pack: Path) -> None:
    name = max(find_files(pack))
    packs.forget()
    archive = pack / name.split("/")[0]
    whole = archive.read_bytes()
    archive.write_bytes(whole[:-2000])
    with pytest.raises(OSError, match="cut off: it has") as caught:
        packs.read_bytes(pack / name)
    assert archive.name in str(caught.value)
    archive.write_bytes(whole.replace(bytes([19]) * 500, bytes([19]) * 499 + b"x"))
    with pytest.raises(OSError, match="CRC-32 differs"):
        packs.read_bytes(pack / name)
    with pytest.raises(FileNotFoundError):
        packs.read_bytes(archive / "absent.jpg")


def test_a_folder_that_is_called_like_an_archive_is_a_folder(tmp_path: Path) -> None:
    fill(tmp_path, {"pack-00000.tar/a.jpg": b"a"})
    assert packs.read_bytes(tmp_path / "pack-00000.tar" / "a.jpg") == b"a"
    assert packs.exists(str(tmp_path / "pack-00000.tar" / "a.jpg"))
    assert not packs.exists(str(tmp_path / "pack-00000.tar" / "b.jpg"))


def test_packs_can_be_packed_anew(pack: Path, tmp_path: Path) -> None:
    pack_folder(pack, tmp_path / "again", size=1 << 20)
    assert unpacked(tmp_path / "again") == unpacked(pack)
    assert len(list((tmp_path / "again").glob("*.tar"))) == 1


def paired(root: Path, images: str, masks: str, **pair: str) -> tuple[list[tuple[str, str, str]], object]:
    """Names of tiles and masks as a job finds them, and its split."""
    data = Data.model_validate({"root": str(root), "images": images, "masks": masks, "pair": pair or {"by": "stem"}})
    listing = list_tiles(data, need_masks=True)
    names = [(tile.name, packs.plain_name(tile.mask), mask_name(tile.image)) for tile in listing.tiles]
    return names, [(tile.name, *rest) for tile, *rest in assigned(listing, Split(by="hash"))]


@pytest.mark.parametrize(
    ("suffix", "pair"),
    [
        (".png", {"by": "stem"}),
        ("_gt.png", {"by": "suffix", "image_suffix": ".jpg", "mask_suffix": "_gt.png"}),
        ("_x.png", {"by": "csv", "file": "table.csv"}),
    ],
)
def test_jobs_find_the_same_tiles_in_packs(tmp_path: Path, suffix: str, pair: dict[str, str]) -> None:
    images = [f"{n % 3}/tile {n}.jpg" for n in range(30)]
    fill(tmp_path / "images", {name: name.encode() for name in images})
    fill(tmp_path / "masks", {name.replace(".jpg", suffix): b"mask" for name in images})
    rows = "".join(f"{name},{name.replace('.jpg', suffix)}\n" for name in images)
    (tmp_path / "table.csv").write_text("image,mask\n" + rows)
    result = subprocess.run(
        [sys.executable, "-m", "segbatch", "pack", "images", "packed", "--masks", "masks", "--size", "12K"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert "data.masks: packed/masks" in result.stdout
    assert len(json.loads((tmp_path / "packed/images/pack.json").read_text())["archives"]) > 2
    plain = paired(tmp_path, "images", "masks", **pair)
    assert len(plain[0]) == 30
    for images_at, masks_at in (
        ("packed/images", "packed/masks"),
        ("packed/images", "masks"),
        ("images", "packed/masks"),
    ):
        assert paired(tmp_path, images_at, masks_at, **pair) == plain


def test_a_size_that_is_none(tmp_path: Path) -> None:
    from click.testing import CliRunner

    result = CliRunner().invoke(cli, ["pack", str(tmp_path), str(tmp_path / "out"), "--size", "big"])
    assert result.exit_code == 2
    assert "expected a size such as 512M or 2G, received 'big'" in result.output

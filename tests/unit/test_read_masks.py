"""Masks read for evaluating without a model."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segbatch.errors import InputError
from segbatch.evaluation.read import Role, read_index_map, read_pair
from segbatch.spec.labels import Labels

LABELS = Labels.model_validate(
    {
        "name": "trees",
        "classes": [
            {"id": 4, "name": "ground", "color": "#112233", "values": "0-99"},
            {"id": 9, "name": "tree", "color": "#445566", "values": ["100-239", 255]},
            {"id": 7, "name": "void", "color": "#000000", "ignore": True, "values": 240},
        ],
    }
)
RAW, IDS = LABELS.raw_to_index(), LABELS.id_to_index()
VALUES = np.array([[0, 99, 100], [240, 120, 50]], np.uint8)
INDICES = [[0, 0, 1], [255, 1, 0]]


def save(path: Path, picture: Image.Image | np.ndarray, **options: int) -> Path:
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(path, **options)
    return path


def read(path: Path, role: Role = "truth", table: bytes = RAW) -> list[list[int]]:
    indices = read_index_map(path, table, role=role)
    assert indices.dtype == np.uint8
    return indices.tolist()


def test_grey(tmp_path: Path) -> None:
    assert read(save(tmp_path / "mask.png", VALUES)) == INDICES


def test_a_palette_gives_its_numbers_and_not_its_colors(tmp_path: Path) -> None:
    picture = Image.fromarray(np.array([[4, 9], [9, 7]], np.uint8))
    picture.putpalette(bytes(reversed(range(256))) * 3)
    assert picture.mode == "P"
    assert read(save(tmp_path / "mask.png", picture), "prediction", IDS) == [[0, 1], [1, 255]]


def test_one_bit_is_0_and_255(tmp_path: Path) -> None:
    picture = Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1")
    assert read(save(tmp_path / "mask.png", picture)) == [[0, 1]]


def test_equal_channels_count_as_one(tmp_path: Path) -> None:
    colors = np.repeat(VALUES[..., None], 3, axis=-1)
    assert read(save(tmp_path / "mask.png", colors)) == INDICES
    alpha = np.full((*VALUES.shape, 1), 17, np.uint8)
    assert read(save(tmp_path / "alpha.png", np.concatenate([colors, alpha], axis=-1))) == INDICES


def test_a_grey_jpeg_saved_as_colors_under_a_wrong_name(tmp_path: Path) -> None:
    values = np.zeros((32, 32, 3), np.uint8)
    values[:, 16:] = 200
    Image.fromarray(values).save(tmp_path / "mask.png", "JPEG")
    found = np.array(read(tmp_path / "mask.png"))
    assert (found == np.repeat([[0] * 16 + [1] * 16], 32, axis=0)).all()


def test_colors_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "mask.png", np.array([[[255, 0, 0], [1, 1, 1]]], np.uint8))
    with pytest.raises(InputError, match=r"mask\.png: .*colours.*Expected class numbers"):
        read(path)


def test_values_without_a_class_are_named_in_truth_and_no_class_in_predictions(tmp_path: Path) -> None:
    path = save(tmp_path / "mask.png", np.array([[4, 9, 1, 1, 2]], np.uint8))
    message = r"mask\.png: mask values that no class claims: 1 \(2 pixels\), 2 \(1 pixels\)\. Give them to a class"
    with pytest.raises(InputError, match=message):
        read(path, "truth", IDS)
    assert read(path, "prediction", IDS) == [[0, 1, 255, 255, 255]]


def test_many_values_without_a_class_are_counted(tmp_path: Path) -> None:
    path = save(tmp_path / "mask.png", np.arange(100, 120, dtype=np.uint8)[None])
    with pytest.raises(InputError, match=r"and 12 more\."):
        read(path, "truth", IDS)


def test_two_sizes_are_refused_and_named(tmp_path: Path) -> None:
    truth = save(tmp_path / "truth.png", np.zeros((3, 4), np.uint8))
    predicted = save(tmp_path / "predicted.png", np.full((6, 8), 4, np.uint8))
    with pytest.raises(InputError, match=r"has 8 x 6 pixels, its truth .*truth\.png has 4 x 3 \(width x height\)"):
        read_pair(truth, predicted, RAW, IDS)


def test_a_pair(tmp_path: Path) -> None:
    truth = save(tmp_path / "truth.png", VALUES)
    predicted = save(tmp_path / "predicted.png", np.array([[4, 9, 9], [4, 7, 0]], np.uint8))
    left, right = read_pair(truth, predicted, RAW, IDS)
    assert left.tolist() == INDICES
    assert right.tolist() == [[0, 1, 1], [0, 255, 255]]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "received an empty file"),
        (b"tile,mask\n", "received another kind of file"),
        (b"%PDF-1.4", "received PDF"),
        (b"\xff\xd8\xff\xe0\x00", "damaged"),
        (b"\x89PNG\r\n\x1a\n", "damaged"),
    ],
)
def test_files_that_are_no_masks(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "mask.png"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"mask\.png: .*{reason}"):
        read(path)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_file_cut_short_is_refused_wherever_the_cut_is(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "mask"
    Image.fromarray(np.random.default_rng(0).integers(0, 200, (64, 64), dtype=np.uint8)).save(path, kind)
    whole = path.read_bytes()
    for share in (0.01, 0.1, 0.5, 0.9):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(InputError, match=r"mask: "):
            read(path)


def test_more_than_eight_bits_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "mask.png", np.array([[0, 1000]], np.uint16))
    with pytest.raises(InputError, match=r"16-bit mask.* 8 bits"):
        read(path)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.png: no such mask"):
        read(tmp_path / "gone.png")
    with pytest.raises(InputError, match=r"cannot be read: Is a directory"):
        read(tmp_path)


def test_names_of_any_bytes(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/m\xffsk, \n1.png"))
    Image.fromarray(VALUES).save(str(path))
    assert read(path) == INDICES

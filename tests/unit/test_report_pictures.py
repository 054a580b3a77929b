"""Tiles drawn for people: every size, band count and number type."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from segbatch.evaluation.pictures import (
    GAP,
    HATCH,
    MISSED,
    WRONG,
    colored,
    difference,
    panel_names,
    tile_picture,
    to_rgb,
)
from tests.support.labels import TWO_CLASSES

BLACK, GREEN = (0, 0, 0), (0, 170, 0)


def opened(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def maps(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    truth = np.zeros((height, width), np.uint8)
    truth[:, width // 2 :] = 1
    return truth, np.zeros((height, width), np.uint8)


@pytest.mark.parametrize(
    ("size", "panel"),
    [
        ((256, 256), (256, 256)),
        ((360, 480), (256, 341)),
        ((1000, 4000), (128, 512)),
        ((100, 80), (200, 160)),
        ((1, 1), (256, 256)),
        ((1, 9000), (1, 512)),
        ((9000, 1), (256, 1)),
    ],
)
def test_panels_fit_a_page(size: tuple[int, int], panel: tuple[int, int]) -> None:
    truth, predicted = maps(*size)
    image = np.zeros((*size, 3), np.uint8)
    picture = opened(tile_picture(image, truth, predicted, TWO_CLASSES))
    assert picture.shape == (panel[0], 4 * panel[1] + 3 * GAP, 3)


@pytest.mark.parametrize("bands", [None, 1, 2, 3, 4, 8])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int32, np.float32])
def test_any_image_can_be_drawn(bands: int | None, kind: type) -> None:
    shape = (40, 60) if bands is None else (40, 60, bands)
    image = np.random.default_rng(0).integers(0, 200, shape).astype(kind)
    truth, predicted = maps(40, 60)
    assert opened(tile_picture(image, truth, predicted, TWO_CLASSES)).shape == (240, 4 * 360 + 3 * GAP, 3)


def test_sixteen_bits_are_stretched() -> None:
    ramp = np.linspace(1000, 1400, 256 * 256).reshape(256, 256).astype(np.uint16)
    shown = to_rgb(ramp)
    assert shown.min() == 0
    assert shown.max() == 255
    assert abs(int(shown[128, 0, 0]) - 128) <= 3
    assert to_rgb(np.full((3, 3), 777, np.uint16)).tolist() == np.full((3, 3, 3), 128).tolist()
    assert to_rgb(np.array([[np.nan, 1.0, 2.0]])).dtype == np.uint8


def test_only_the_panels_that_there_are() -> None:
    truth, predicted = maps(256, 256)
    image = np.zeros((256, 256), np.uint8)
    for picture, named in [
        (tile_picture(image, truth, predicted, TWO_CLASSES), panel_names(image=True, truth=True)),
        (tile_picture(None, truth, predicted, TWO_CLASSES), panel_names(image=False, truth=True)),
        (tile_picture(image, None, predicted, TWO_CLASSES), panel_names(image=True, truth=False)),
        (tile_picture(None, None, predicted, TWO_CLASSES), panel_names(image=False, truth=False)),
    ]:
        assert opened(picture).shape[1] == len(named) * 256 + (len(named) - 1) * GAP


def test_masks_have_the_labels_colors_and_the_rest_is_hatched() -> None:
    indices = np.full((8, 8), 255, np.uint8)
    indices[0, :2] = (0, 1)
    shown = colored(indices, TWO_CLASSES)
    assert tuple(shown[0, 0]) == BLACK
    assert tuple(shown[0, 1]) == GREEN
    assert {tuple(map(int, pixel)) for pixel in shown[1:].reshape(-1, 3)} == set(HATCH)


def test_the_difference_tells_too_much_from_too_little() -> None:
    truth = np.array([[0, 0, 1, 1, 255, 1]], np.uint8)
    predicted = np.array([[0, 1, 1, 0, 1, 255]], np.uint8)
    shown = [tuple(map(int, pixel)) for pixel in difference(truth, predicted, two=True)[0]]
    assert shown[1] == WRONG
    assert shown[3] == shown[5] == MISSED
    assert shown[0] == shown[2]
    assert len(set(shown[0])) == 1
    assert shown[4] in HATCH
    many = [tuple(map(int, pixel)) for pixel in difference(truth, predicted)[0]]
    assert many[1] == many[3] == many[5] == WRONG

"""Holes and small regions, against a plain flood fill."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segbatch.inference.regions import absorb_small, fill_holes

CLASSES = 3
MASKS = arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, CLASSES - 1))
LIMITS = st.tuples(*[st.integers(0, 8)] * CLASSES)
Cell = tuple[int, int]


def drawn(*lines: str) -> np.ndarray:
    return np.array([[int(letter) for letter in line] for line in lines], np.uint8)


def beside(cell: Cell) -> list[Cell]:
    row, column = cell
    return [(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]


def flooded(inside: set[Cell]) -> list[set[Cell]]:
    """Connected regions of some cells, by stepping from neighbour to neighbour."""
    left, regions = set(inside), []
    while left:
        front, region = [left.pop()], set()
        while front:
            cell = front.pop()
            region.add(cell)
            found = [other for other in beside(cell) if other in left]
            left.difference_update(found)
            front += found
        regions.append(region)
    return regions


def regions_of(mask: np.ndarray) -> list[tuple[int, set[Cell]]]:
    cells = {index: {tuple(cell) for cell in np.argwhere(mask == index).tolist()} for index in range(CLASSES)}
    return [(index, region) for index, here in cells.items() for region in flooded(here)]  # type: ignore[arg-type]


def filled_by_hand(mask: np.ndarray, most: tuple[int, ...]) -> np.ndarray:
    height, width = mask.shape
    holes = []
    for index, limit in enumerate(most):
        for region in flooded({tuple(cell) for cell in np.argwhere(mask != index).tolist()}):  # type: ignore[misc]
            at_edge = any(row in (0, height - 1) or column in (0, width - 1) for row, column in region)
            if not at_edge and len(region) <= limit:
                holes.append((len(region), -index, region))
    out = mask.copy()
    for _, index, region in sorted(holes, key=lambda hole: hole[:2]):
        for cell in region:
            out[cell] = -index
    return out


def absorbed_by_hand(mask: np.ndarray, least: tuple[int, ...]) -> np.ndarray:
    out = mask.copy()
    regions = regions_of(mask)
    settled = {cell for index, region in regions if len(region) >= least[index] for cell in region}
    waiting = [region for index, region in regions if len(region) < least[index]]
    while True:
        decided = []
        for region in waiting:
            sides = Counter(
                int(out[other]) for cell in region for other in beside(cell) if other in settled and other not in region
            )
            if sides:
                decided.append((region, min(sides, key=lambda index: (-sides[index], index))))
        if not decided:
            return out
        for region, index in decided:
            for cell in region:
                out[cell] = index
            settled |= region
            waiting.remove(region)


def test_a_hole_is_filled_and_an_island_at_the_edge_is_none() -> None:
    mask = drawn(
        "0000000",
        "0111110",
        "0100010",
        "0101010",
        "0111110",
        "0000000",
        "0011100",
        "0010100",
    )
    whole = drawn("0000000", "0111110", "0111110", "0111110", "0111110", "0000000", "0011100", "0010100")
    # The hole is 5 pixels of ground: the sixth, in its middle row, is building connected to the ring.
    assert np.array_equal(fill_holes(mask, [0, 5]), whole)
    assert np.array_equal(fill_holes(mask, [0, 4]), mask)


def test_holes_of_one_class_leave_the_others_alone() -> None:
    mask = drawn("00000", "01110", "01210", "01110", "00000")
    assert np.array_equal(fill_holes(mask, [0, 9, 0]), drawn("00000", "01110", "01110", "01110", "00000"))
    assert np.array_equal(fill_holes(mask, [9, 9, 0]), np.zeros_like(mask))


def test_a_small_region_becomes_the_neighbour_of_the_longest_border() -> None:
    mask = drawn("0002222", "0001222", "0001122", "0002222")
    # The three pixels of class 1 have 2 sides to class 0 and 5 to class 2.
    assert np.array_equal(absorb_small(mask, [0, 4, 0]), drawn("0002222", "0002222", "0002222", "0002222"))
    assert np.array_equal(absorb_small(mask, [0, 3, 0]), mask)


def test_of_equal_borders_the_lower_class_wins() -> None:
    assert np.array_equal(absorb_small(drawn("221100", "221100"), [0, 5, 0]), drawn("220000", "220000"))


@given(MASKS, LIMITS)
def test_holes_equal_those_of_a_flood_fill(mask: np.ndarray, most: tuple[int, ...]) -> None:
    before = mask.copy()
    assert np.array_equal(fill_holes(mask, most), filled_by_hand(mask, most))
    assert np.array_equal(mask, before)


@given(MASKS, LIMITS)
def test_small_regions_equal_those_of_a_flood_fill(mask: np.ndarray, least: tuple[int, ...]) -> None:
    before = mask.copy()
    assert np.array_equal(absorb_small(mask, least), absorbed_by_hand(mask, least))
    assert np.array_equal(mask, before)


@given(MASKS, LIMITS)
def test_nothing_small_is_left_unless_all_was_small(mask: np.ndarray, least: tuple[int, ...]) -> None:
    out = absorb_small(mask, least)
    if any(len(region) >= least[index] for index, region in regions_of(mask)):
        assert all(len(region) >= least[index] for index, region in regions_of(out))
    else:
        assert np.array_equal(out, mask)
    assert np.array_equal(absorb_small(out, least), out)

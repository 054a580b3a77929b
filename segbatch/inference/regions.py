"""Connected regions of a mask: holes filled, small ones given to their neighbours. NumPy and SciPy alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.uint8]


def fill_holes(mask: Mask, most: Sequence[int]) -> Mask:
    """Fill the holes of classes.

    A hole of class c is a region of pixels of other classes, whichever, connected by their sides, that neither touches
    the mask's edge nor any pixel beside it that is not c. Where holes overlap, the largest wins (so of nested rings the
    outermost); of holes of one size, that of the lower class index.

    Args:
        mask: class indices [h, w].
        most: pixels of the largest hole to fill, for each class; 0 for none.

    Returns:
        The same shape; `mask` itself if it has no such hole.
    """
    found = [hole for index, limit in enumerate(most) if limit for hole in _holes(mask, index, limit)]
    if not found:
        return mask
    filled = mask.copy()
    for _, index, place, pixels in sorted(found, key=lambda hole: (hole[0], -hole[1])):
        filled[place][pixels] = index
    return filled


def absorb_small(mask: Mask, least: Sequence[int]) -> Mask:
    """Give regions that are too small to their neighbours, as a sieve does.

    Regions are pixels of one class, connected by their sides. A small one becomes the class of the large regions with
    which it shares the longest border, counted in pixel sides; of equal ones, the lower class index. Small regions
    without a large neighbour wait until a neighbour has been given away, then count that one as large. A mask that has
    only small regions stays.

    Args:
        mask: class indices [h, w].
        least: pixels from which a region of each class is large.

    Returns:
        The same shape; `mask` itself if all its regions are large. No region of it is small, unless all were.
    """
    limits = np.asarray(least, np.int64)
    if limits.max() <= 1:
        return mask
    regions, classes = _regions(mask, len(limits))
    waiting = np.bincount(regions.ravel()) < limits[classes]
    if not waiting.any():
        return mask
    small, beside = _borders(regions, waiting)
    while (ready := ~waiting[beside]).any():
        owners, wanted = _longest(small[ready], classes[beside[ready]], len(limits))
        classes[owners] = wanted
        waiting[owners] = False
        still = waiting[small]
        small, beside = small[still], beside[still]
    return classes[regions]


def _holes(mask: Mask, index: int, most: int) -> Iterator[tuple[int, int, tuple[slice, ...], NDArray[np.bool_]]]:
    """Yield a class's holes: pixels, class, and where they are: a box of the mask and the pixels of it."""
    # Takes half a second to load, which tasks that clean nothing need not wait for.
    from scipy import ndimage

    other = mask != index
    if other.all():
        return
    numbers, _ = ndimage.label(other)
    sizes = np.bincount(numbers.ravel())
    inner = sizes <= most
    for edge in (numbers[0], numbers[-1], numbers[:, 0], numbers[:, -1], [0]):
        inner[edge] = False
    if not inner.any():
        return
    boxes = ndimage.find_objects(numbers)
    for number in np.flatnonzero(inner).tolist():
        box = boxes[number - 1]
        yield int(sizes[number]), index, box, numbers[box] == number


def _regions(mask: Mask, classes: int) -> tuple[NDArray[np.int32], Mask]:
    """Number the regions from 0: int32 [h, w], and the class of each."""
    from scipy import ndimage

    regions = np.zeros(mask.shape, np.int32)
    owners: list[int] = []
    for index in np.flatnonzero(np.bincount(mask.ravel(), minlength=classes)).tolist():
        here = mask == index
        numbers, count = ndimage.label(here)
        np.add(numbers, len(owners) - 1, out=regions, where=here)
        owners += [index] * count
    return regions, np.array(owners, np.uint8)


def _borders(regions: NDArray[np.int32], small: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Every pixel side between a small region and another one: the small region, and the other."""
    sides = [(regions[:, :-1], regions[:, 1:]), (regions[:-1], regions[1:])]
    here, there = [], []
    for first, second in sides:
        apart = first != second
        one, two = first[apart], second[apart]
        here += [one, two]
        there += [two, one]
    owners, others = np.concatenate(here), np.concatenate(there)
    chosen = small[owners]
    return owners[chosen], others[chosen]


def _longest(owners: NDArray[np.int32], wanted: Mask, classes: int) -> tuple[NDArray[np.int64], Mask]:
    """Class that most sides of each region lead to, the lowest of equals: the regions, each once, and the classes."""
    cells, sides = np.unique(owners.astype(np.int64) * classes + wanted, return_counts=True)
    regions, each = np.divmod(cells, classes)
    order = np.lexsort((each, -sides, regions))
    ranked = regions[order]
    first = np.concatenate([[True], ranked[1:] != ranked[:-1]])
    return ranked[first], each[order][first].astype(np.uint8)

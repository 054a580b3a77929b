"""The files of a training sample."""

from __future__ import annotations

import os

from segbatch.runs.tiles import Tile

Pair = tuple[bytes, bytes] | tuple[bytes, bytes, bytes]
"""Paths of an image, its mask and, where truth is labelled in part, the mask of its labelled region."""


def pair_of(tile: Tile, images_root: str, masks_root: str, labelled_root: str = "") -> Pair:
    """Paths of a tile's files, from the folders they lie in."""
    image = os.fsencode(os.path.join(images_root, tile.image))
    mask = os.fsencode(os.path.join(masks_root, tile.mask))
    if not labelled_root:
        return image, mask
    return image, mask, os.fsencode(os.path.join(labelled_root, tile.labelled))

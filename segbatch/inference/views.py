"""Test-time augmentation: the same pixels seen from several sides, and what the network says of them averaged."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

Network = Callable[[tf.Tensor], tf.Tensor]
View = tuple[int, bool]
"""Quarter turns counter-clockwise, and whether the picture is mirrored left to right after them."""


def views_of(kinds: Sequence[str]) -> tuple[View, ...]:
    """Name the views of `predict.test_time_augmentation`; the first is the picture as it is.

    Args:
        kinds: of `flips` (a half turn, mirrored, is upside down) and `quarter_turns`.

    Returns:
        1, 4 or 8 views, each once: together the symmetries of a rectangle, or of a square.
    """
    turns = range(4) if "quarter_turns" in kinds else (0, 2) if "flips" in kinds else (0,)
    mirrored = (False, True) if "flips" in kinds else (False,)
    return tuple((turn, mirror) for turn in turns for mirror in mirrored)


def averaged(probabilities: Network, pixels: tf.Tensor, views: Sequence[View]) -> tf.Tensor:
    """Average what a network says of several views of the same pixels, each brought back to where it was.

    The mean of probabilities over transformed copies: Krizhevsky et al., NIPS 2012; for segmentation Moshkov et al.,
    "Test-time augmentation for deep learning-based cell segmentation on microscopy images", Scientific Reports 2020.
    Equal values come out as they went in, to the bit: there are 1, 4 or 8, added in pairs.

    Args:
        probabilities: float32 [B, h, w, bands] to float32 [B, h, w, C].
        pixels: float32 [B, h, w, bands]; h equals w where a view is a quarter turn.
        views: from `views_of`.

    Returns:
        float32 [B, h, w, C].
    """
    seen: list[tf.Tensor] = []
    for view in views:
        # One after the other: in a graph they would run at once, and need the memory of all.
        with tf.control_dependencies(seen[-1:]):
            seen.append(_back(probabilities(_turned(pixels, view)), view))
    while len(seen) > 1:
        seen = [first + second for first, second in zip(seen[::2], seen[1::2], strict=True)]
    return seen[0] / len(views) if len(views) > 1 else seen[0]


def _turned(pixels: tf.Tensor, view: View) -> tf.Tensor:
    turns, mirrored = view
    turned = tf.image.rot90(pixels, turns) if turns else pixels
    return tf.reverse(turned, [2]) if mirrored else turned


def _back(maps: tf.Tensor, view: View) -> tf.Tensor:
    turns, mirrored = view
    straight = tf.reverse(maps, [2]) if mirrored else maps
    return tf.image.rot90(straight, 4 - turns) if turns else straight

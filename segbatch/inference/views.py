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
    """Average what a network says of several views of the same pixels.

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
            seen.append(brought_back(probabilities(seen_from(pixels, view)), view))
    return mean(seen)


def seen_from(pixels: tf.Tensor, view: View) -> tf.Tensor:
    """Turn and mirror pictures [B, h, w, any] as a view has them."""
    turns, mirrored = view
    turned = _turned(pixels, turns)
    return tf.reverse(turned, [2]) if mirrored else turned


def brought_back(maps: tf.Tensor, view: View) -> tf.Tensor:
    """Undo what `seen_from` did, with what the network says of the view: [B, h, w, C]."""
    turns, mirrored = view
    return _turned(tf.reverse(maps, [2]) if mirrored else maps, -turns % 4)


def mean(maps: Sequence[tf.Tensor]) -> tf.Tensor:
    """Mean of 1, 4 or 8 maps of probabilities, float32 of one shape.

    The mean over transformed copies: Krizhevsky et al., NIPS 2012; for segmentation Moshkov et al., "Test-time
    augmentation for deep learning-based cell segmentation on microscopy images", Scientific Reports 2020. Added in
    pairs, so that equal values come out as they went in, to the bit.
    """
    sums = list(maps)
    while len(sums) > 1:
        sums = [first + second for first, second in zip(sums[::2], sums[1::2], strict=True)]
    return sums[0] / len(maps) if len(maps) > 1 else sums[0]


def _turned(pictures: tf.Tensor, turns: int) -> tf.Tensor:
    """Turn counter-clockwise; `tf.image.rot90` would decide how far only while it runs."""
    if turns == 2:
        return tf.reverse(pictures, [1, 2])
    if turns == 1:
        return tf.reverse(tf.transpose(pictures, [0, 2, 1, 3]), [1])
    return tf.transpose(tf.reverse(pictures, [1]), [0, 2, 1, 3]) if turns == 3 else pictures


PLAIN = views_of(())
"""The one view of a tile as it is."""

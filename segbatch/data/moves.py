"""Augmentation by moving pixels: neighbours in the list are put together, so that pixels are read once.

A move is a 3x3 matrix that takes a pixel of the result, as (x, y, 1) with whole numbers at pixel centres, to the place
in the source that it is read from. A further one is a function registered under its `op`; it gets the step, a seed of
its own, and height and width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import tensorflow as tf

from segbatch.spec.augmentation import AugmentStep
from segbatch.spec.labels import IGNORED

Size = tuple[tf.Tensor, tf.Tensor]
"""Height and width in pixels, float32 []."""
Move = Callable[[AugmentStep, tf.Tensor, Size], tf.Tensor]
Happening = tuple[AugmentStep, tf.Tensor, tf.Tensor]
"""A step, whether it happens (bool []), and the seed of what it draws (int64 [2])."""

MOVES: dict[str, Move] = {}
"""Moves by the `op` that names them; each gives float32 [3, 3]."""
_FLIPS = {"flip_left_right": 1, "flip_up_down": 0}
"""Moves that only need rows or columns in reverse order, by their axis: free beside the others."""


def move(steps: Sequence[Happening], image: tf.Tensor, truth: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Make the moves that happen, in order, as one.

    Args:
        steps: moves, in order.
        image: float32 [h, w, bands]; read bilinearly, what lies outside is mirrored at the border.
        truth: uint8 [h, w]; the nearest pixel is read, what lies outside becomes IGNORED.

    Returns:
        Image and truth of the same size; where no move happens, or flips alone, pixels keep their values to the bit.
    """
    if all(step.op in _FLIPS for step, _, _ in steps):
        return _flipped(steps, image, truth)
    shape = tf.shape(truth)
    height, width = tf.cast(shape[0], tf.float32), tf.cast(shape[1], tf.float32)
    matrix = tf.eye(3)
    for step, happens, seed in steps:
        drawn = MOVES[step.op](step, seed, (height, width))
        # From a pixel of the result back to the source: the last move is undone first.
        matrix = tf.matmul(matrix, tf.where(happens, drawn, tf.eye(3)))
    moved = tf.reduce_any(tf.stack([happens for _, happens, _ in steps]))
    image, truth = tf.cond(moved, lambda: (_read(image, matrix), _read(truth, matrix)), lambda: (image, truth))
    return image, truth


def _flipped(steps: Sequence[Happening], image: tf.Tensor, truth: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    for step, happens, _ in steps:
        axis = _FLIPS[step.op]
        image, truth = tf.cond(
            happens,
            lambda image=image, truth=truth, axis=axis: (tf.reverse(image, [axis]), tf.reverse(truth, [axis])),
            lambda image=image, truth=truth: (image, truth),
        )
    return image, truth


def _read(picture: tf.Tensor, matrix: tf.Tensor) -> tf.Tensor:
    """Read a picture at the places that the matrix gives; masks are those without an axis of bands."""
    mask = picture.shape.rank == 2
    batch = picture[tf.newaxis, ..., tf.newaxis] if mask else picture[tf.newaxis]
    read = tf.raw_ops.ImageProjectiveTransformV3(
        images=batch,
        transforms=tf.reshape(matrix, [1, 9])[:, :8],
        output_shape=tf.shape(batch)[1:3],
        fill_value=float(IGNORED),
        interpolation="NEAREST" if mask else "BILINEAR",
        fill_mode="CONSTANT" if mask else "REFLECT",
    )[0]
    return tf.ensure_shape(read[..., 0] if mask else read, picture.shape)


def operation(name: str) -> Callable[[Move], Move]:
    """Register what an `op` does."""

    def register(function: Move) -> Move:
        MOVES[name] = function
        return function

    return register


@operation("flip_left_right")
def _flip_left_right(step: AugmentStep, seed: tf.Tensor, size: Size) -> tf.Tensor:
    return _matrix(-1.0, 0.0, size[1] - 1.0, 0.0, 1.0, 0.0)


@operation("flip_up_down")
def _flip_up_down(step: AugmentStep, seed: tf.Tensor, size: Size) -> tf.Tensor:
    return _matrix(1.0, 0.0, 0.0, 0.0, -1.0, size[0] - 1.0)


@operation("quarter_turns")
def _quarter_turns(step: AugmentStep, seed: tf.Tensor, size: Size) -> tf.Tensor:
    """One, two or three quarters; none at all is the chance `p`."""
    turns = tf.random.stateless_uniform([], seed, 1, 4, tf.int32, alg="philox")
    cosine = tf.gather(tf.constant([1.0, 0.0, -1.0, 0.0]), turns)
    sine = tf.gather(tf.constant([0.0, 1.0, 0.0, -1.0]), turns)
    return _about_centre(cosine, -sine, sine, cosine, size)


@operation("rotate")
def _rotate(step: AugmentStep, seed: tf.Tensor, size: Size) -> tf.Tensor:
    angle = _draw(seed, -1.0, 1.0) * math.radians(step.degrees)
    return _about_centre(tf.cos(angle), -tf.sin(angle), tf.sin(angle), tf.cos(angle), size)


@operation("zoom")
def _zoom(step: AugmentStep, seed: tf.Tensor, size: Size) -> tf.Tensor:
    """About the centre; the factor's logarithm is drawn evenly, so that twice and half are equally likely."""
    low, high = map(math.log, step.range)
    inverse = tf.exp(-_draw(seed, low, high))
    return _about_centre(inverse, 0.0, 0.0, inverse, size)


@operation("crop")
def _crop(step: AugmentStep, seed: tf.Tensor, size: Size) -> tf.Tensor:
    """The place is drawn evenly among those that lie inside."""
    down, right = (_draw(seed + tf.constant([0, key], tf.int64), 0.0, 1.0 - step.share) for key in (0, _OTHER))
    # Pixel i covers i - 1/2 to i + 1/2, so a side of n pixels begins at -1/2.
    start = (step.share - 1.0) / 2.0
    return _matrix(step.share, 0.0, start + right * size[1], 0.0, step.share, start + down * size[0])


_OTHER = 0x5851F42D4C957F2D
"""Added to a seed for a second draw."""


def _draw(seed: tf.Tensor, low: float, high: float) -> tf.Tensor:
    return low + (high - low) * tf.random.stateless_uniform([], seed, alg="philox")


def _about_centre(
    xx: tf.Tensor | float, xy: tf.Tensor | float, yx: tf.Tensor | float, yy: tf.Tensor | float, size: Size
) -> tf.Tensor:
    """Matrix of a linear map that leaves the picture's centre where it is."""
    x, y = (size[1] - 1.0) / 2.0, (size[0] - 1.0) / 2.0
    return _matrix(xx, xy, x - xx * x - xy * y, yx, yy, y - yx * x - yy * y)


def _matrix(*rows: tf.Tensor | float) -> tf.Tensor:
    """Two rows of three, and the row that keeps parallels parallel."""
    return tf.reshape(tf.stack([tf.cast(value, tf.float32) for value in (*rows, 0.0, 0.0, 1.0)]), [3, 3])

"""Augmentation: drawn anew for each sample in the graph, image and mask moved together.

Operations that move pixels are in `segbatch.data.moves`, those that change colours in `segbatch.data.colors`; here is
what they share: when an operation happens, and in which order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import tensorflow as tf

from segbatch.data.colors import COLORS
from segbatch.data.moves import MOVES, move
from segbatch.spec.augmentation import AugmentStep

Sample = tuple[tf.Tensor, tf.Tensor]

OPERATIONS = frozenset((*MOVES, *COLORS))
"""Operations by the `op` that names them."""

_SEED_STEP = 0x9E3779B97F4A7C15 - 2**64  # odd, so that the seeds of 2**64 steps differ


def apply(
    steps: Sequence[AugmentStep], image: tf.Tensor, truth: tf.Tensor, seed: tf.Tensor, peak: float = 255.0
) -> Sample:
    """Change one sample; each step happens with its own chance.

    Args:
        steps: operations, in order.
        image: float32 [h, w, bands], 0 to `peak`.
        truth: uint8 [h, w].
        seed: int64 [2]: key of the epoch, and index of the sample. The same seed draws the same changes, on every
            machine and in whatever order samples are read.
        peak: largest value that a band can hold.

    Returns:
        Image in the same range, and truth: values that it had, and 255 where pixels were uncovered.
    """
    drawn = [_Drawn(position, step, seed) for position, step in enumerate(steps)]
    for moving, run in _runs(drawn):
        if moving:
            happening = [(one.step, one.happens, one.seed) for one in run]
            image, truth = move(happening, image, truth)
            continue
        for one in run:
            change = COLORS[one.step.op]
            image = tf.cond(
                one.happens,
                lambda image=image, one=one, change=change: change(image, one.step.strength, one.seed, peak),
                lambda image=image: image,
            )
    return image, truth


class _Drawn:
    """A step, whether it happens to this sample, and the seed of what else it draws."""

    def __init__(self, position: int, step: AugmentStep, seed: tf.Tensor) -> None:
        chance_seed, self.seed = (seed + tf.constant([_wrapped(2 * position + k), 0], tf.int64) for k in (0, 1))
        self.step = step
        self.happens = tf.random.stateless_uniform([], chance_seed, alg="philox") < step.p


def _runs(drawn: Sequence[_Drawn]) -> Iterator[tuple[bool, list[_Drawn]]]:
    """Neighbours that move pixels, and neighbours that do not."""
    for moving, run in groupby(drawn, key=lambda one: one.step.op in MOVES):
        yield moving, list(run)


def _wrapped(count: int) -> int:
    """`count` seed steps, as a signed 64-bit number."""
    return (count * _SEED_STEP + 2**63) % 2**64 - 2**63

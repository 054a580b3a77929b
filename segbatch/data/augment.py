"""Augmentation: drawn anew for each sample in the graph, image and mask moved together.

A further operation is one function, registered under its `op`:

    @operation("turn")
    def _turn(image, truth, step, seed):
        turns = tf.random.stateless_uniform([], seed, 0, 4, tf.int32)
        return tf.image.rot90(image, turns), tf.image.rot90(truth[..., None], turns)[..., 0]

It gets float32 [h, w, bands], uint8 [h, w], its step of the job, and a seed of its own for what it draws. Pixels that
it uncovers are IGNORED in the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from segbatch.spec.augmentation import AugmentStep

Sample = tuple[tf.Tensor, tf.Tensor]
Operation = Callable[[tf.Tensor, tf.Tensor, AugmentStep, tf.Tensor], Sample]

OPERATIONS: dict[str, Operation] = {}
"""Operations by the `op` that names them."""

_SEED_STEP = 0x9E3779B97F4A7C15 - 2**64  # odd, so that the seeds of 2**64 steps differ


def operation(name: str) -> Callable[[Operation], Operation]:
    """Register what an `op` does."""

    def register(function: Operation) -> Operation:
        OPERATIONS[name] = function
        return function

    return register


def apply(steps: Sequence[AugmentStep], image: tf.Tensor, truth: tf.Tensor, seed: tf.Tensor) -> Sample:
    """Change one sample; each step happens with its own chance.

    Args:
        steps: operations, in order.
        image: float32 [h, w, bands].
        truth: uint8 [h, w].
        seed: int64 [2]: key of the epoch, and index of the sample. The same seed gives the same changes, on every
            machine and in whatever order samples are read.

    Returns:
        Image and truth.
    """
    for position, step in enumerate(steps):
        change = OPERATIONS[step.op]
        chance_seed, own_seed = (seed + tf.constant([_wrapped(2 * position + k), 0], tf.int64) for k in (0, 1))
        chance = tf.random.stateless_uniform([], chance_seed, alg="philox")
        image, truth = tf.cond(
            chance < step.p,
            lambda image=image, truth=truth, change=change, step=step, seed=own_seed: change(image, truth, step, seed),
            lambda image=image, truth=truth: (image, truth),
        )
    return image, truth


def _wrapped(count: int) -> int:
    """`count` seed steps, as a signed 64-bit number."""
    return (count * _SEED_STEP + 2**63) % 2**64 - 2**63


@operation("flip_left_right")
def _flip_left_right(image: tf.Tensor, truth: tf.Tensor, step: AugmentStep, seed: tf.Tensor) -> Sample:
    return tf.reverse(image, [1]), tf.reverse(truth, [1])


@operation("flip_up_down")
def _flip_up_down(image: tf.Tensor, truth: tf.Tensor, step: AugmentStep, seed: tf.Tensor) -> Sample:
    return tf.reverse(image, [0]), tf.reverse(truth, [0])

"""Augmentation: stateless, drawn for each sample in the graph, image and mask together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from segbatch.spec.training import AugmentStep

Change = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]

OPERATIONS: dict[str, Change] = {}
"""A further operation is one function registered here under its `op`."""


def operation(name: str) -> Callable[[Change], Change]:
    """Register what an `op` does to an image, a mask and the sample's seed."""

    def register(change: Change) -> Change:
        OPERATIONS[name] = change
        return change

    return register


@operation("flip_left_right")
def _flip_left_right(image: tf.Tensor, truth: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return tf.reverse(image, [1]), tf.reverse(truth, [1])


@operation("flip_up_down")
def _flip_up_down(image: tf.Tensor, truth: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return tf.reverse(image, [0]), tf.reverse(truth, [0])


def apply(
    steps: Sequence[AugmentStep], image: tf.Tensor, truth: tf.Tensor, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Change one sample.

    Args:
        steps: operations in order, each with its chance.
        image: float32 [h, w, bands].
        truth: uint8 [h, w].
        seed: int64 [2]; the same seed gives the same changes.

    Returns:
        Image and truth, moved together.
    """
    for position, step in enumerate(steps):
        own = tf.random.experimental.stateless_fold_in(seed, position)
        chance, drawn = tf.unstack(tf.random.experimental.stateless_split(own, 2))
        change = OPERATIONS[step.op]
        image, truth = tf.cond(
            tf.random.stateless_uniform([], chance) < step.p,
            lambda change=change, drawn=drawn, image=image, truth=truth: change(image, truth, drawn),
            lambda image=image, truth=truth: (image, truth),
        )
    return image, truth

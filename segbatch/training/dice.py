"""Soft Dice: how well probabilities overlap the truth, class by class."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from segbatch.models.decision import Head
from segbatch.training.loss_sum import LossSum, count, known, valid


class Overlaps(NamedTuple):
    """Sums over pixels, by class; they add up over parts of a batch. Each is float32 [C]."""

    both: tf.Tensor
    """Probability of the class at its own pixels."""
    predicted: tf.Tensor
    """Probability of the class at all valid pixels."""
    true: tf.Tensor
    """Number of its pixels."""


class Dice:
    """One minus soft Dice, mean over the classes that are present in the truth.

    Dice_c = 2 sum(p_c t_c) / (sum(p_c) + sum(t_c)), p_c being the probability of class c, and t_c 1 at its pixels.
    Milletari et al., "V-Net", 2016, with plain instead of squared sums in the denominator, so that for masks it is the
    Dice of the reports. No constant is added: a class counts only where the truth has it, and then the denominator is
    above 0. Of two classes both count.

    The sums run over all valid pixels of the step, on all devices together, so a class may be missing from single
    tiles, and the same global batch gives the same loss on any number of devices. Dice does not add up over steps:
    total and weight are made so that the step's loss is its own Dice loss, and that of an epoch is the mean of its
    steps, each weighing as many pixels as it has valid ones. It therefore depends on the batch size.

    Args:
        head: what the channels mean: the one probability of class 1 (sigmoid), or one a class (softmax).
        classes: number of classes C.
    """

    def __init__(self, head: Head, classes: int) -> None:
        self.head: Head = head
        self.channels = 1 if head == "binary" else classes
        self._classes = classes

    def __call__(self, truth: tf.Tensor, logits: tf.Tensor) -> LossSum:
        """Share out the step's Dice loss by valid pixels."""
        here, pixels = self.overlaps(truth, logits), count(truth)
        whole = tf.cast(pixels, tf.float32)
        *sums, whole_everywhere = _over_devices([*here, whole])
        # The sums of all devices, of which only this one's own part has a gradient here: devices add up theirs. That
        # part weighs as much as the pixels of all, since each device's gradient is weighed by its own.
        everywhere = Overlaps(*(mine + tf.stop_gradient(all_ - mine) for mine, all_ in zip(here, sums, strict=True)))
        loss = _mean_missed(everywhere)
        still = tf.stop_gradient(loss)
        return LossSum(whole * still + whole_everywhere * (loss - still), pixels)

    def overlaps(self, truth: tf.Tensor, logits: tf.Tensor) -> Overlaps:
        """Sum over the valid pixels of a batch; arguments as in `Loss`."""
        scores = tf.cast(logits, tf.float32)
        if self.head == "binary":
            probability = tf.concat([tf.sigmoid(-scores), tf.sigmoid(scores)], axis=-1)
        else:
            probability = tf.nn.softmax(scores)
        counted = valid(truth)[..., tf.newaxis]
        probability = tf.where(counted, probability, tf.zeros_like(probability))
        one_hot = tf.one_hot(known(truth), self._classes) * tf.cast(counted, tf.float32)
        return Overlaps(*(tf.reduce_sum(it, axis=[0, 1, 2]) for it in (probability * one_hot, probability, one_hot)))


def class_dice(sums: Overlaps) -> tf.Tensor:
    """float32 [C]: soft Dice of each class; 0 for one that is in neither truth nor prediction."""
    return tf.math.divide_no_nan(2.0 * sums.both, sums.predicted + sums.true)


def _mean_missed(sums: Overlaps) -> tf.Tensor:
    """float32 scalar: one minus soft Dice, mean over the classes that the truth has; 0 where it has none."""
    present = tf.cast(sums.true > 0, tf.float32)
    return tf.math.divide_no_nan(tf.reduce_sum(present * (1.0 - class_dice(sums))), tf.reduce_sum(present))


def _over_devices(sums: list[tf.Tensor]) -> list[tf.Tensor]:
    """Add up over the devices of a step, without gradients."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return sums
    return list(context.all_reduce(tf.distribute.ReduceOp.SUM, [tf.stop_gradient(one) for one in sums]))

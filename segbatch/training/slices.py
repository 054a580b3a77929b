"""What of a batch falls to whom: contiguous ranges, without overlap or hole."""

from __future__ import annotations

import tensorflow as tf

from segbatch.spec.labels import IGNORED


def of_replica(values: tf.Tensor, slots: tf.Tensor, strategy: tf.distribute.Strategy) -> tf.Tensor:
    """The running replica's slice of what its process has of a batch.

    Replica i of R has the slots from i * m on, m = ceil(slots / R); the last ones may have fewer, or none.

    Args:
        values: [b, ...] of this process.
        slots: samples of the batch over all processes.
        strategy: where the step runs; the replicas of a process follow each other.
    """
    replicas = strategy.num_replicas_in_sync
    if replicas == 1:
        return values
    local = len(strategy.extended.worker_devices)
    number = tf.distribute.get_replica_context().replica_id_in_sync_group % local
    share = -(-slots // replicas)
    return values[number * share : (number + 1) * share]


def of_part(image: tf.Tensor, truth: tf.Tensor, number: tf.Tensor, count: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Part `number` of `count` parts that differ by one sample at most.

    A part beyond the last is the first sample with nothing to learn from: replicas make the same number of parts, and
    normalisation needs something to look at in each.
    """
    size, real = tf.shape(image)[0], number < count
    low = tf.where(real, number * size // count, 0)
    high = tf.where(real, (number + 1) * size // count, tf.minimum(size, 1))
    ignored = tf.cast(IGNORED, truth.dtype)
    return image[low:high], tf.where(real, truth[low:high], ignored)

"""What of a batch falls to whom: contiguous ranges, without overlap or hole."""

from __future__ import annotations

import tensorflow as tf


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


def of_part(values: tf.Tensor, number: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Part `number` of `count` parts that differ by one sample at most."""
    size = tf.shape(values)[0]
    return values[number * size // count : (number + 1) * size // count]

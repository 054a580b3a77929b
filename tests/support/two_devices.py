"""A program: one step's loss and gradients on one device and, the batch shared out, on two; prints both as JSON."""

from __future__ import annotations

import json

import numpy as np
import tensorflow as tf

from segbatch.spec.loss import Loss
from segbatch.training.losses import make_loss, mean

# Each half holds a class that the other lacks, and the second an ignored pixel.
TRUTH = np.array([[[0, 0], [1, 1]], [[1, 2], [2, 255]]], np.uint8)
LOSS = {"name": "sum", "parts": [{"name": "dice"}, {"name": "sparse_crossentropy", "weight": 0.5}]}


def main() -> None:
    """Compare."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    logits = np.random.default_rng(4).normal(size=(2, 2, 2, 3)).astype(np.float32)
    loss = make_loss(Loss.model_validate(LOSS), 3)

    def step(truth: tf.Tensor, logits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(logits)
            part = loss(truth, logits)
            weight = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, part.weight)
            value = mean(part.total, weight)
        return value, tape.gradient(value, logits)

    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    halves = [
        strategy.experimental_distribute_values_from_function(
            lambda context, whole=whole: tf.constant(whole[context.replica_id_in_sync_group :][:1])
        )
        for whole in (TRUTH, logits)
    ]
    alone = step(tf.constant(TRUTH), tf.constant(logits))
    shared = tf.function(lambda *args: strategy.run(step, args=args))(*halves)
    losses = [float(alone[0]), sum(float(value) for value in shared[0].values)]
    gradients = [alone[1].numpy(), np.concatenate([part.numpy() for part in shared[1].values])]
    print(json.dumps({"losses": losses, "gradients": [gradient.ravel().tolist() for gradient in gradients]}))


if __name__ == "__main__":
    main()

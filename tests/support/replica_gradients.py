"""Gradients of two uneven batches on one device and on two, in a process of their own; prints how far they differ."""

from __future__ import annotations

import json
import os

import keras
import numpy as np
import tensorflow as tf

from segbatch.training.assembly import make_steps
from segbatch.training.basis import Basis
from segbatch.training.distribution import Distribution
from tests.support.tiny_training import SIDE, make_job

OVERLAP = {"name": "sum", "parts": [{"name": "dice"}, {"name": "sparse_crossentropy", "weight": 0.5}]}


def gradients(strategy: tf.distribute.Strategy, parts: int, clean: bool, loss: dict | None) -> list[list[np.ndarray]]:
    """Gradients of each batch; `clean` for a network without normalisation."""
    sections = {"loss": loss} if loss else {}
    job = make_job(model={"dropout": 0.0}, train={"accumulate": parts}, optimizer={"name": "sgd"}, **sections)
    steps = make_steps(job, Basis(job, None), Distribution(strategy))
    for layer in steps.model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            # One formula for the statistics: on few samples, rounding alone can switch a unit off.
            layer.synchronized, layer.trainable = True, not clean
    steps.retrain()
    generator = np.random.default_rng(0)
    found = []
    for count in (4, 3, 1):
        image = tf.constant(generator.integers(0, 255, (count, SIDE, SIDE, 3)), tf.float32)
        truth = generator.integers(0, 3, (count, SIDE, SIDE)).astype(np.uint8)
        truth[0, : 7 * SIDE // 8] = 255

        @tf.function
        def whole(image: tf.Tensor, truth: tf.Tensor) -> list[tf.Tensor]:
            given = strategy.run(steps._gradients, args=(image, truth, tf.shape(image)[0]))
            return [strategy.experimental_local_results(one)[0] for one in given]

        found.append([one.numpy() for one in whole(image, tf.constant(truth))])
    return found


def main() -> None:
    """Compare."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    alone, mirrored = tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    worst = {}
    variants = (("normalised", 1, False, None), ("in parts", 2, True, None), ("Dice", 1, True, OVERLAP))
    for name, *how in variants:
        one, two = gradients(alone, *how), gradients(mirrored, *how)
        pairs = [pair for a, b in zip(one, two, strict=True) for pair in zip(a, b, strict=True)]
        worst[name] = max(float(np.abs(a - b).max() / (np.abs(a).max() + 1e-6)) for a, b in pairs)
    print(json.dumps(worst), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()

"""One learning step: parts, clipping, loss scale, precision and optimisers, against plain NumPy and Keras."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from segbatch.data.normalize import Normalization
from segbatch.spec.loss import Loss
from segbatch.spec.optimizer import Clip, Optimizer
from segbatch.training.losses import make_loss
from segbatch.training.optimizers import OPTIMIZERS, make_optimizer
from segbatch.training.scaling import GROWTH_STEPS, START
from segbatch.training.steps import Steps, assign, clipped, values_of

pytestmark = pytest.mark.tensorflow

SIDE = 8
RNG = np.random.default_rng(2)
IMAGE = RNG.integers(0, 256, (6, SIDE, SIDE, 3)).astype(np.float32)
TRUTH = RNG.integers(0, 3, (6, SIDE, SIDE)).astype(np.uint8)
# Parts of very different weight: a mean of their means would be another gradient.
TRUTH[:2] = 255
TRUTH[2, :6] = 255


def small_model(policy: str = "float32") -> keras.Model:
    keras.utils.set_random_seed(4)
    inputs = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu", dtype=policy)(inputs)
    return keras.Model(inputs, keras.layers.Conv2D(3, 1, dtype=policy)(x))


def make_steps(spec: dict | None = None, policy: str = "float32", **settings) -> Steps:
    optimizer = Optimizer.model_validate({"name": "sgd", "learning_rate": 0.5} | (spec or {}))
    loss = make_loss(Loss(name="sparse_crossentropy"), 3)
    made = make_optimizer(optimizer)
    unit = Normalization("unit", 8)
    return Steps(small_model(policy), loss, made, normalize=unit, classes=3, clip=optimizer.clip, **settings)


def weights_after(steps: Steps, count: int = 1) -> list[np.ndarray]:
    for _ in range(count):
        steps.learn(tf.constant(IMAGE), tf.constant(TRUTH))
    return values_of(steps.model.variables)


def gradient_by_hand() -> list[np.ndarray]:
    """Gradient of the mean over all valid pixels, by Keras' own loss."""
    model = small_model()
    valid = TRUTH != 255
    with tf.GradientTape() as tape:
        logits = model(IMAGE / 255)
        pixels = keras.losses.sparse_categorical_crossentropy(np.where(valid, TRUTH, 0), logits, from_logits=True)
        value = tf.reduce_sum(tf.where(valid, pixels, 0.0)) / valid.sum()
    return [one.numpy() for one in tape.gradient(value, [variable.value for variable in model.trainable_variables])]


@pytest.mark.parametrize("parts", [1, 2, 4, 6, 9])
def test_parts_have_the_gradient_of_the_whole(parts):
    before = values_of(small_model().variables)
    expected = [weight - 0.5 * slope for weight, slope in zip(before, gradient_by_hand(), strict=True)]
    steps = make_steps(parts=parts)
    for found, wanted in zip(weights_after(steps), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    figures = steps.training.read()
    assert figures.weight == (TRUTH != 255).sum()
    assert figures.counts.sum() == figures.weight


def test_clipping_by_numpy():
    slopes = [np.array([3.0, 4.0], np.float32), np.array([[0.5, -2.0]], np.float32)]
    given = [tf.constant(slope) for slope in slopes]
    lengths = [np.linalg.norm(slope) for slope in slopes]
    whole = np.sqrt(sum(length**2 for length in lengths))
    by_norm = [slope * min(1, 2 / length) for slope, length in zip(slopes, lengths, strict=True)]
    for clip, expected in (
        ({"norm": 2.0}, by_norm),
        ({"value": 1.0}, [np.clip(slope, -1, 1) for slope in slopes]),
        ({"global_norm": 2.0}, [slope * 2 / whole for slope in slopes]),
        ({"global_norm": 99.0}, slopes),
        ({}, slopes),
    ):
        for found, wanted in zip(clipped(given, Clip.model_validate(clip)), expected, strict=True):
            np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-6)


def test_a_step_is_clipped_as_a_whole():
    """Over parts the same as at once: the bound is on the gradient of the whole batch."""
    at_once, in_parts = (weights_after(make_steps({"clip": {"global_norm": 0.01}}, parts=n)) for n in (1, 3))
    before = values_of(small_model().variables)
    for one, two in zip(at_once, in_parts, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-7)
    moved = np.sqrt(sum(((a - b) ** 2).sum() for a, b in zip(at_once, before, strict=True)))
    assert moved == pytest.approx(0.5 * 0.01, rel=1e-3)


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_every_optimiser_moves_all_weights_and_can_be_reset(name):
    steps = make_steps({"name": name, "learning_rate": 0.01})
    unused = values_of(steps.optimizer.variables)
    before = values_of(steps.model.variables)
    after = weights_after(steps, 2)
    assert all((a != b).any() for a, b in zip(before, after, strict=True))
    steps.reset_optimizer()
    for a, b in zip(values_of(steps.optimizer.variables), unused, strict=True):
        assert (a == b).all()


def test_momentum_and_decay_reach_the_optimiser():
    sgd = make_optimizer(Optimizer(name="sgd", momentum=0.9, nesterov=True, weight_decay=0.01))
    assert (sgd.momentum, sgd.nesterov, sgd.weight_decay) == (0.9, True, 0.01)
    assert make_optimizer(Optimizer(name="adamw")).weight_decay == 0.004
    assert make_optimizer(Optimizer(name="rmsprop", momentum=0.5)).momentum == 0.5


def test_a_loss_scale_changes_nothing_while_it_fits():
    plain, scaled = weights_after(make_steps()), weights_after(make_steps(scaled=True, parts=2))
    for one, two in zip(plain, scaled, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-6)


def test_steps_that_overflow_are_left_out_and_the_scale_falls_and_grows():
    steps = make_steps(policy="mixed_float16", scaled=True)
    scale, good = steps.variables[-2:]
    assert float(scale.numpy()) == START
    before = values_of(steps.model.variables)
    scale.assign(1e30)
    after = weights_after(steps)
    assert all((a == b).all() for a, b in zip(before, after, strict=True))
    assert float(scale.numpy()) == pytest.approx(5e29)
    assert int(steps.optimizer.iterations.numpy()) == 0
    scale.assign(1024.0)
    good.assign(GROWTH_STEPS - 1)
    assert all((a != b).any() for a, b in zip(before, weights_after(steps), strict=True))
    assert (float(scale.numpy()), int(good.numpy())) == (2048.0, 0)


@pytest.mark.parametrize(("policy", "tolerance"), [("mixed_float16", 2e-2), ("mixed_bfloat16", 1e-1)])
def test_mixed_precision_learns_about_the_same(policy, tolerance):
    plain = weights_after(make_steps(), 3)
    mixed = weights_after(make_steps(policy=policy, scaled=policy == "mixed_float16"), 3)
    for one, two in zip(plain, mixed, strict=True):
        assert two.dtype == np.float32
        np.testing.assert_allclose(one, two, atol=tolerance)


def test_xla_gives_the_same():
    plain, compiled = weights_after(make_steps()), weights_after(make_steps(jit=True))
    for one, two in zip(plain, compiled, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-6)


def test_averages_are_exchanged_without_loss():
    steps = make_steps(ema=0.9)
    learned = weights_after(steps, 3)
    everything = values_of(steps.variables)
    with steps.averaged():
        averaged = values_of(steps.model.variables)
        # A checkpoint written now holds what one written before did.
        for a, b in zip(values_of(steps.variables), everything, strict=True):
            assert a.tobytes() == b.tobytes()
    assert any((a != b).any() for a, b in zip(learned, averaged, strict=True))
    for a, b in zip(values_of(steps.model.variables), learned, strict=True):
        assert (a == b).all()
    other = make_steps(ema=0.9)
    assign(other.variables, everything)
    with other.averaged():
        assert all((a == b).all() for a, b in zip(values_of(other.model.variables), averaged, strict=True))

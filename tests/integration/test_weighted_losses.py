"""Class weights, focal loss, soft Dice and sums: worked numbers, NumPy as the oracle, and the notebook's formula."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from segbatch.spec.loss import Loss
from segbatch.training.losses import make_loss, mean

pytestmark = pytest.mark.tensorflow

IGNORED = 255
truths = arrays.arrays(np.uint8, (2, 3, 4), elements=st.sampled_from([0, 1, 2, IGNORED]))
scores = arrays.arrays(np.float32, (2, 3, 4, 3), elements=st.floats(-8, 8, width=32))


def make(classes, weights=None, **section):
    loss = Loss.model_validate(section)
    return make_loss(loss, classes, [None if weights is None else np.array(weights)] * len(loss.terms))


def evaluate(loss, truth, logits):
    part = loss(tf.constant(truth, tf.uint8), tf.constant(logits, tf.float32))
    return float(mean(part.total, part.weight))


def softmax(logits):
    powers = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def true_probability(truth, logits):
    """p of the true class at the valid pixels, and those classes."""
    valid = truth != IGNORED
    chosen = truth[valid].astype(int)
    return np.take_along_axis(softmax(logits)[valid], chosen[:, None], -1)[:, 0], chosen


def notebook_weighted_crossentropy(truth, probability, weights):
    """The street notebook's formula: probabilities to the power of the weights, which Keras' loss makes sum to 1."""
    powers = probability ** np.asarray(weights)
    powers /= powers.sum(-1, keepdims=True)
    return -np.log(np.take_along_axis(powers, truth[..., None], -1)).mean()


# Weighted cross entropy


def test_weighted_crossentropy_worked_numbers_unlike_the_notebook():
    weights, probability = [0.2, 1, 5], np.array([[[[0.25, 0.5, 0.25]]]])
    loss = make(3, weights, name="sparse_crossentropy")
    # w(c) * -ln p(c): 1 x 0.6931, 0.2 x 1.3863, 5 x 1.3863
    for true, ours, theirs in ((1, 0.693147, 0.923), (0, 0.277259, None), (2, 6.931472, None)):
        truth = np.array([[[true]]])
        assert evaluate(loss, truth, np.log(probability)) == pytest.approx(ours, abs=1e-5)
        if theirs:
            assert notebook_weighted_crossentropy(truth, probability, weights) == pytest.approx(theirs, abs=5e-4)


def test_it_is_divided_by_pixels_not_by_weights():
    # True classes 0 and 2 at p .25 and an ignored pixel: (0.2 + 5) x 1.386294 / 2 pixels, not / 5.2
    truth, logits = np.array([[[0, 2, IGNORED]]]), np.log([[[[0.25, 0.5, 0.25]] * 3]])
    assert evaluate(make(3, [0.2, 1, 5], name="auto"), truth, logits) == pytest.approx(3.604365, abs=1e-5)
    assert evaluate(make(3, [0.4, 2, 10], name="auto"), truth, logits) == pytest.approx(7.208731, abs=1e-5)


def test_two_classes_of_one_channel():
    # p = .8 at a pixel of class 1, weight 3; p = .8 at one of class 0, weight .5: (3 x .22314 + .5 x 1.60944) / 2
    logit = np.log(0.8 / 0.2)
    found = evaluate(make(2, [0.5, 3], name="auto"), np.array([[[1, 0]]]), np.full((1, 1, 2, 1), logit))
    assert found == pytest.approx(0.737075, abs=1e-5)


def optimum(loss_of):
    """Probabilities of least loss, by gradient descent."""
    logits = tf.Variable(tf.zeros((1, 10, 3)))
    optimizer = tf.keras.optimizers.Adam(0.05)
    for _ in range(400):
        with tf.GradientTape() as tape:
            value = loss_of(tf.repeat(tf.reduce_mean(logits, axis=1, keepdims=True), 10, axis=1))
        optimizer.apply_gradients([(tape.gradient(value, logits), logits)])
    return tf.nn.softmax(tf.reduce_mean(logits, axis=1))[0].numpy()


def test_where_the_weights_lead_unlike_the_notebook():
    """Of true shares .6 .3 .1 and weights .2 1 5, w x share = .12 .30 .50 makes .13 .33 .54 of all."""
    weights, truth = np.array([0.2, 1, 5], np.float32), np.array([[[0] * 6 + [1] * 3 + [2]]], np.uint8)
    loss = make(3, weights, name="sparse_crossentropy")

    def ours(logits):
        part = loss(tf.constant(truth), logits[tf.newaxis])
        return mean(part.total, part.weight)

    def theirs(logits):
        powers = tf.nn.softmax(logits) ** weights
        powers /= tf.reduce_sum(powers, axis=-1, keepdims=True)
        return -tf.reduce_mean(tf.math.log(tf.gather(powers[0], truth[0, 0].astype(int), axis=1, batch_dims=1)))

    assert optimum(ours) == pytest.approx([0.13, 0.33, 0.54], abs=0.01)
    assert optimum(theirs) == pytest.approx([0.07, 0.30, 0.63], abs=0.01)


@settings(max_examples=30, deadline=None)
@given(truth=truths, logits=scores, weights=arrays.arrays(np.float64, 3, elements=st.floats(0, 9)))
def test_weighted_crossentropy_equals_numpy(truth, logits, weights):
    p, chosen = true_probability(truth, logits)
    expected = (weights[chosen] * -np.log(p)).mean() if p.size else 0.0
    assert evaluate(make(3, weights, name="auto"), truth, logits) == pytest.approx(expected, rel=1e-5, abs=1e-6)


# Focal loss


def test_focal_worked_numbers():
    # p .9 .6 .1 of class 1, class 1 1 0, gamma 2: .01 x .10536, .16 x .51083, .01 x .10536; a fourth is ignored
    p, truth = np.array([[[0.9, 0.6, 0.1, 0.2]]]), np.array([[[1, 1, 0, IGNORED]]])
    logits = np.log(p / (1 - p))[..., None]
    assert evaluate(make(2, name="focal"), truth, logits) == pytest.approx(0.0279465, abs=1e-6)
    # alpha .25: .25 and .75 for the first class: (.25 x (.0010536 + .0817321) + .75 x .0010536) / 3
    assert evaluate(make(2, name="focal", alpha=0.25), truth, logits) == pytest.approx(0.0071622, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(truth=truths, logits=scores, gamma=st.sampled_from([0.0, 0.5, 1.0, 2.0, 5.0]))
def test_focal_equals_numpy_and_without_gamma_crossentropy(truth, logits, gamma):
    p, chosen = true_probability(truth, logits)
    weights = np.array([0.2, 1, 5])
    expected = (weights[chosen] * (1 - p) ** gamma * -np.log(p)).mean() if p.size else 0.0
    found = evaluate(make(3, weights, name="focal", gamma=gamma), truth, logits)
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-6)
    if gamma == 0:
        assert found == pytest.approx(evaluate(make(3, weights, name="auto"), truth, logits), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("classes", [2, 3])
def test_focal_stays_finite_at_extreme_logits(gamma, classes):
    extreme = np.array([[[1e4, -1e4, 1e4]]]) if classes == 3 else np.array([[[1e4]]])
    logits = tf.Variable(np.stack([extreme, -extreme]).astype(np.float32))
    with tf.GradientTape() as tape:
        part = make(classes, name="focal", gamma=gamma)(tf.zeros((2, 1, 1), tf.uint8), logits)
    assert np.isfinite(float(part.total))
    assert np.isfinite(tape.gradient(part.total, logits).numpy()).all()


# Soft Dice


def dice_oracle(truth, probability):
    valid = truth != IGNORED
    dice = []
    for index in range(probability.shape[-1]):
        t, p = (truth[valid] == index).astype(float), probability[valid][:, index]
        if t.sum():
            dice.append(2 * (p * t).sum() / (p.sum() + t.sum()))
    return 1 - np.mean(dice) if dice else 0.0


def test_dice_worked_numbers():
    # Class 1 at p .8 and .4, class 0 at p(1) .2; a fourth pixel is ignored.
    # Class 1: 2 x 1.2 / (1.4 + 2) = .705882; class 0: 2 x .8 / (1.6 + 1) = .615385; 1 - mean = .339367
    p, truth = np.array([[[0.8, 0.4, 0.2, 0.9]]]), np.array([[[1, 1, 0, IGNORED]]])
    logits = np.log(p / (1 - p))[..., None]
    assert evaluate(make(2, name="dice"), truth, logits) == pytest.approx(0.339367, abs=1e-5)
    # Without class 0 in the truth it is left out, whatever is predicted: 1 - 2 x 1.2 / (1.2 + 2)
    assert evaluate(make(2, name="dice"), truth[..., :2], logits[..., :2, :]) == pytest.approx(0.25, abs=1e-5)


def test_dice_of_a_perfect_prediction_and_of_nothing():
    truth = np.array([[[0, 1, 2, 2]]])
    logits = 60.0 * np.eye(3)[truth]
    assert evaluate(make(3, name="dice"), truth, logits) == pytest.approx(0, abs=1e-6)
    assert evaluate(make(3, name="dice"), np.full((1, 1, 4), IGNORED), logits) == 0


@settings(max_examples=30, deadline=None)
@given(truth=truths, logits=scores)
def test_dice_equals_numpy_and_ignored_pixels_get_no_gradient(truth, logits):
    variable = tf.Variable(logits)
    with tf.GradientTape() as tape:
        part = make(3, name="dice")(tf.constant(truth), variable)
        value = mean(part.total, part.weight)
    assert float(part.weight) == (truth != IGNORED).sum()
    assert float(value) == pytest.approx(dice_oracle(truth, softmax(logits)), rel=1e-4, abs=1e-6)
    gradient = tape.gradient(value, variable).numpy()
    assert np.isfinite(gradient).all()
    assert not gradient[truth == IGNORED].any()


def test_dice_of_an_epoch_weighs_its_steps_by_pixels():
    generator = np.random.default_rng(2)
    loss = make(3, name="dice")
    truth, logits = generator.integers(0, 3, (3, 4, 4)), generator.normal(size=(3, 4, 4, 3))
    truth[0, :2] = IGNORED
    parts = [loss(tf.constant(truth[i : i + 1], tf.uint8), tf.constant(logits[i : i + 1])) for i in range(3)]
    total, weight = (sum(float(part[side]) for part in parts) for side in (0, 1))
    each = [dice_oracle(truth[i], softmax(logits[i])) for i in range(3)]
    assert total / weight == pytest.approx(np.average(each, weights=[8, 16, 16]), rel=1e-5)


def test_the_same_global_batch_gives_the_same_dice_on_two_devices(repo):
    """Loss and gradients of a step are those of one device, though each of two sees other classes."""
    program = [sys.executable, "-m", "tests.support.two_devices"]
    said = subprocess.run(program, capture_output=True, text=True, cwd=repo, check=True).stdout
    found = json.loads(said.splitlines()[-1])
    alone, together = found["losses"]
    assert together == pytest.approx(alone, rel=1e-5)
    alone, together = found["gradients"]
    assert np.abs(alone).max() > 0.01
    assert together == pytest.approx(alone, abs=1e-6)


# Sums


@settings(max_examples=20, deadline=None)
@given(truth=truths, logits=scores)
def test_a_sum_is_the_sum(truth, logits):
    weights = np.array([0.2, 1, 5])
    parts = [{"name": "focal", "gamma": 1}, {"name": "dice", "weight": 0.5}]
    section = Loss.model_validate({"name": "sum", "parts": parts})
    found = evaluate(make_loss(section, 3, [weights, None]), truth, logits)
    p, chosen = true_probability(truth, logits)
    focal = (weights[chosen] * (1 - p) * -np.log(p)).mean() if p.size else 0.0
    assert found == pytest.approx(focal + 0.5 * dice_oracle(truth, softmax(logits)), rel=1e-4, abs=1e-6)

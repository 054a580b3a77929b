"""Losses: worked numbers, NumPy and Keras as oracles, and the notebook's formula that they replace."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from segbatch.errors import InputError
from segbatch.spec.loss import Loss
from segbatch.training import losses
from segbatch.training.losses import mean

pytestmark = pytest.mark.tensorflow

IGNORED = 255


def make_loss(settings, classes, weights=()):
    """Make a loss by its name, or by its section of a job."""
    section = {"name": settings} if isinstance(settings, str) else settings
    return losses.make_loss(Loss.model_validate(section), classes, weights)


def evaluate(name, classes, truth, logits):
    """Mean, total and weight of a loss."""
    part = make_loss(name, classes)(tf.constant(truth, tf.uint8), tf.constant(logits, tf.float32))
    return float(mean(part.total, part.weight)), float(part.total), float(part.weight)


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


def logit(p):
    return np.log(p) - np.log1p(-np.asarray(p, np.float64))


def binary_oracle(truth, logits):
    valid = truth != IGNORED
    p = sigmoid(logits[..., 0])[valid]
    return -np.where(truth[valid] == 1, np.log(p), np.log1p(-p))


def sparse_oracle(truth, logits):
    scores = logits.astype(np.float64)
    logs = scores - np.log(np.exp(scores - scores.max(-1, keepdims=True)).sum(-1, keepdims=True))
    logs -= scores.max(-1, keepdims=True)
    valid = truth != IGNORED
    return -np.take_along_axis(logs[valid], truth[valid].astype(int)[:, None], -1)[:, 0]


def test_binary_worked_numbers():
    # Probabilities .9 .8 .3, the fourth pixel is ignored: -(ln .9 + ln(1 - .8) + ln .3) = .10536 + 1.60944 + 1.20397
    truth = np.array([[[1, 0], [1, IGNORED]]])
    logits = logit(np.array([[[0.9, 0.8], [0.3, 0.999]]]))[..., None]
    value, total, weight = evaluate("binary_crossentropy", 2, truth, logits)
    assert weight == 3
    assert total == pytest.approx(2.918771, abs=1e-5)
    assert value == pytest.approx(0.972924, abs=1e-5)


def test_sparse_worked_numbers():
    # True class at p .7, .2 and ignored: -(ln .7 + ln .2) = .35667 + 1.60944
    truth = np.array([[[0, 2, IGNORED]]])
    logits = np.log([[[[0.7, 0.2, 0.1], [0.5, 0.3, 0.2], [0.1, 0.1, 0.8]]]])
    value, total, weight = evaluate("sparse_crossentropy", 3, truth, logits)
    assert weight == 2
    assert total == pytest.approx(1.966113, abs=1e-5)
    assert value == pytest.approx(0.983056, abs=1e-5)


@pytest.mark.parametrize(("name", "channels"), [("binary_crossentropy", 1), ("sparse_crossentropy", 2)])
def test_nothing_valid_costs_nothing_and_moves_nothing(name, channels):
    logits = tf.Variable(tf.ones((1, 2, 2, channels)))
    truth = tf.fill((1, 2, 2), tf.constant(IGNORED, tf.uint8))
    with tf.GradientTape() as tape:
        part = make_loss(name, 2)(truth, logits)
        value = mean(part.total, part.weight)
    assert float(value) == 0.0
    assert not tape.gradient(value, logits).numpy().any()


def test_extreme_logits_stay_finite():
    truth = np.array([[[1, 0, 1, 0]]])
    value, _, _ = evaluate("binary_crossentropy", 2, truth, [[[[1e4], [-1e4], [-1e4], [1e4]]]])
    assert value == pytest.approx(5e3)


truths = arrays.arrays(np.uint8, (2, 3, 4), elements=st.sampled_from([0, 1, 2, IGNORED]))
scores = arrays.arrays(np.float32, (2, 3, 4, 3), elements=st.floats(-8, 8, width=32))


@settings(max_examples=40, deadline=None)
@given(truth=truths, logits=scores)
def test_sparse_equals_numpy_and_keras(truth, logits):
    value, total, weight = evaluate("sparse_crossentropy", 3, truth, logits)
    oracle = sparse_oracle(truth, logits)
    assert weight == oracle.size
    assert total == pytest.approx(oracle.sum(), rel=1e-5, abs=1e-5)
    if oracle.size:
        theirs = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=IGNORED)
        # Keras wants the ignored class within a signed type.
        assert value == pytest.approx(float(theirs(truth.astype(np.int32), logits)), rel=1e-5, abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(truth=truths, logits=scores)
def test_binary_equals_numpy(truth, logits):
    truth = np.where(truth == 2, 1, truth)
    _, total, weight = evaluate("binary_crossentropy", 2, truth, logits[..., :1])
    oracle = binary_oracle(truth, logits[..., :1])
    assert weight == oracle.size
    assert total == pytest.approx(oracle.sum(), rel=1e-5, abs=1e-5)


@settings(max_examples=20, deadline=None)
@given(truth=truths, logits=scores)
def test_ignored_pixels_get_no_gradient_and_sums_add_up(truth, logits):
    loss = make_loss("sparse_crossentropy", 3)
    variable = tf.Variable(logits)
    with tf.GradientTape() as tape:
        part = loss(tf.constant(truth), variable)
        value = mean(part.total, part.weight)
    gradient = tape.gradient(value, variable).numpy()
    assert not gradient[truth == IGNORED].any()
    halves = [loss(tf.constant(truth[i : i + 1]), tf.constant(logits[i : i + 1])) for i in (0, 1)]
    assert float(part.weight) == sum(float(half.weight) for half in halves)
    assert float(part.total) == pytest.approx(sum(float(half.total) for half in halves), rel=1e-5, abs=1e-5)


def test_half_precision_logits_are_summed_in_single():
    truth = tf.zeros((1, 64, 64), tf.uint8)
    logits = tf.fill((1, 64, 64, 1), tf.constant(2.0, tf.float16))
    part = make_loss("binary_crossentropy", 2)(truth, logits)
    assert part.total.dtype == tf.float32
    assert float(part.total) == pytest.approx(4096 * np.log1p(np.exp(2.0)), rel=1e-5)


def notebook_partial_crossentropy(truth, probability, labelled):
    """The forest notebook's formula: a sigmoid of what is a probability already, unlabelled pixels as class 0."""
    target = tf.constant(truth * labelled, tf.float32)
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=target, logits=probability))


@pytest.mark.parametrize(("true", "theirs"), [(1, 0.313), (0, 0.693)])
def test_a_perfect_prediction_costs_nothing_unlike_the_notebook(true, theirs):
    truth = np.full((1, 4, 4), true)
    logits = np.full((1, 4, 4, 1), 40.0 if true else -40.0)
    assert evaluate("binary_crossentropy", 2, truth, logits)[0] == pytest.approx(0.0, abs=1e-6)
    wrong = notebook_partial_crossentropy(truth, tf.constant(sigmoid(logits[..., 0]), tf.float32), 1)
    assert float(wrong) == pytest.approx(theirs, abs=5e-4)


@pytest.mark.parametrize(("share", "theirs"), [(1.0, 0.5428), (0.5, 0.7678), (0.1, 0.9478), (0.02, 0.9838)])
def test_partial_labels_do_not_change_the_loss_unlike_the_notebook(share, theirs):
    # Half of the pixels are positive at .9, half negative at .1; the same share of both is labelled: -ln .9 = .10536
    truth = np.tile([[1, 0]], (100, 50))[None]
    labelled = np.zeros((1, 100, 100), np.int64)
    labelled[:, : round(100 * share)] = 1
    probability = np.where(truth == 1, 0.9, 0.1)
    right = evaluate("binary_crossentropy", 2, np.where(labelled, truth, IGNORED), logit(probability)[..., None])[0]
    wrong = notebook_partial_crossentropy(truth, tf.constant(probability, tf.float32), labelled)
    assert right == pytest.approx(0.105361, abs=1e-5)
    assert float(wrong) == pytest.approx(theirs, abs=5e-4)


def test_unlabelled_pixels_pull_on_the_notebook_only():
    truth = np.tile([[1, 0]], (100, 50))[None]
    labelled = np.zeros((1, 100, 100), np.int64)
    labelled[:, :10] = 1
    raw = tf.Variable(logit(np.where(truth == 1, 0.9, 0.1)).astype(np.float32))
    with tf.GradientTape(persistent=True) as tape:
        wrong = notebook_partial_crossentropy(truth, tf.sigmoid(raw), labelled)
        part = make_loss("auto", 2)(tf.constant(np.where(labelled, truth, IGNORED), tf.uint8), raw[..., None])
    theirs, ours = (np.abs(tape.gradient(value, raw).numpy()) for value in (wrong, part.total))
    assert theirs[labelled == 0].sum() / theirs.sum() > 0.9
    assert ours[labelled == 0].sum() == 0


def test_auto_and_names():
    assert (make_loss("auto", 2).head, make_loss("auto", 2).channels) == ("binary", 1)
    assert (make_loss("auto", 3).head, make_loss("auto", 3).channels) == ("multiclass", 3)
    assert make_loss("sparse_crossentropy", 2).channels == 2
    with pytest.raises(InputError, match="needs labels of 2 classes, these have 3"):
        make_loss("binary_crossentropy", 3)

"""Each piece against TensorFlow's own ops and their automatic gradient."""

import math

import numpy as np
import pytest
import tensorflow as tf

from bert_cn.model import dropout as dropout_lib
from bert_cn.model import fused_ops

BOTH_OPS = pytest.mark.parametrize(
    "ops", [fused_ops.XLA, fused_ops.CPU], ids=["xla", "cpu"]
)
pytestmark = pytest.mark.usefixtures("xla_for_cpus")
SEED = tf.constant([3, 4])
RATE = 0.25


def normal(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return tf.constant(rng.normal(size=shape), tf.float32)


def keeps(shape):
    """Return 1 / (1 - RATE) where SEED keeps an entry, else 0."""
    mask = dropout_lib.draw_mask(tf.zeros(shape), SEED, RATE)
    return tf.cast(mask, tf.float32) / (1 - RATE)


def assert_same(function, reference, *tensors):
    """Compare values, and the gradients of a sum that weighs each entry its own way."""
    results = []
    for compute in (function, reference):
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            value = compute(*tensors)
            loss = tf.reduce_sum(
                value
                * tf.reshape(
                    tf.cos(tf.range(0.0, tf.cast(tf.size(value), tf.float32))),
                    value.shape,
                )
            )
        results.append((value, *tape.gradient(loss, tensors)))
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=2e-5)


@BOTH_OPS
@pytest.mark.parametrize("approximate", [False, True], ids=["exact", "tanh"])
def test_bias_gelu_equals_tensorflow(approximate, ops):
    assert_same(
        lambda x, b: ops.bias_gelu(x, b, approximate),
        lambda x, b: tf.nn.gelu(x + b, approximate),
        3 * normal(6, 10),
        normal(10, seed=1),
    )


@BOTH_OPS
@pytest.mark.parametrize("size", [32, 10], ids=["in lanes", "not in lanes"])
@pytest.mark.parametrize(
    ("seed", "epsilon"),
    [(SEED, 1e-12), (None, 1e-12), (SEED, 0.1)],
    ids=["dropout", "no dropout", "large epsilon"],
)
def test_add_layer_norm_equals_tensorflow(size, seed, ops, epsilon):
    def reference(x, bias, residual, gamma, beta):
        x = (x + bias) * (1.0 if seed is None else keeps(x.shape))
        mean, variance = tf.nn.moments(x + residual, [-1], keepdims=True)
        return tf.nn.batch_normalization(
            x + residual, mean, variance, beta, gamma, epsilon
        )

    assert_same(
        lambda x, bias, residual, *norm: ops.add_layer_norm(
            x, bias, residual, fused_ops.NormWeights(*norm), seed, RATE, epsilon
        ),
        reference,
        normal(6, size),
        *(normal(*s, seed=i) for i, s in enumerate([(size,), (6, size)], 1)),
        *(normal(size, seed=i) for i in (4, 5)),
    )


@BOTH_OPS
def test_dropout_drops_the_same_entries_in_both_directions(ops):
    assert_same(
        lambda x: ops.dropout(x, SEED, RATE),
        lambda x: x * keeps(x.shape),
        normal(50, 20),
    )


@BOTH_OPS
def test_sum_masked_lm_equals_tensorflow(ops):
    labels = tf.constant([3, 0, 29, 3])
    weights = tf.constant([1.0, 1.0, 0.0, 0.5])

    def reference(hidden, table, bias):
        logits = tf.matmul(hidden, table, transpose_b=True) + bias
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        return tf.reduce_sum(losses * weights)[None]

    assert_same(
        lambda *tensors: ops.sum_masked_lm(*tensors, labels, weights)[0][None],
        reference,
        normal(4, 8),
        normal(30, 8, seed=1),
        normal(30, seed=2),
    )


@BOTH_OPS
def test_objective_with_a_teacher_equals_tensorflow(ops):
    labels = tf.constant([3, 0, 29, 3])
    weights = tf.constant([1.0, 1.0, 0.0, 0.5])
    expected = tf.nn.softmax(normal(4, 30, seed=3))
    soft_targets = fused_ops.SoftTargets(expected, 0.3)

    def reference(hidden, table, bias):
        logits = tf.matmul(hidden, table, transpose_b=True) + bias
        mixture = 0.7 * tf.one_hot(labels, 30) + 0.3 * expected
        losses = tf.nn.softmax_cross_entropy_with_logits(mixture, logits)
        return tf.reduce_sum(losses * weights)[None]

    tensors = normal(4, 8), normal(30, 8, seed=1), normal(30, seed=2)
    assert_same(
        lambda *tensors: ops.sum_masked_lm(*tensors, labels, weights, soft_targets)[0][
            None
        ],
        reference,
        *tensors,
    )
    # The metrics stay those of the labels.
    taught = ops.sum_masked_lm(*tensors, labels, weights, soft_targets)
    alone = ops.sum_masked_lm(*tensors, labels, weights)
    assert taught[1:] == alone[1:]
    assert alone.objective == alone.loss != taught.objective


def test_sum_masked_lm_counts_right_predictions_by_weight():
    # One-hot hidden states against the identity: token i is predicted for row i.
    sums = fused_ops.XLA.sum_masked_lm(
        tf.eye(4),
        tf.eye(4),
        tf.zeros(4),
        tf.constant([0, 1, 0, 3]),
        tf.constant([1.0, 0.0, 1.0, 1.0]),
    )
    assert sums.correct == 2


def test_impossible_prediction_has_a_finite_loss_and_nan_stays_nan():
    for value, expected in ((1e4, 87.3), (math.nan, math.nan)):
        sums = fused_ops.XLA.sum_masked_lm(
            tf.constant([[value, 0.0]]),
            tf.eye(2),
            tf.zeros(2),
            tf.constant([1]),
            tf.ones(1),
        )
        np.testing.assert_allclose(sums.loss, expected, atol=0.1)

"""Both implementations of attention against TensorFlow's own ops and their gradient."""

import math

import numpy as np
import pytest
import tensorflow as tf

from bert_cn.model import attention
from bert_cn.model import dropout as dropout_lib

BATCH, LENGTH, HEADS, SIZE = 2, 16, 3, 8
HIDDEN = HEADS * SIZE
RATE = 0.25
SEED = tf.constant([3, 4])
PADDING = tf.constant([[[0.0] * 16], [[0.0] * 5 + [-1e9] * 11]])  # [batch, 1, keys]
# Several sequences in each row: [batch, queries, keys].
PARTS = np.array([[1] * 7 + [2] * 9, [1] * 3 + [2] * 4 + [3] * 5 + [0] * 4])
BLOCKS = tf.constant(-1e9 * (PARTS[:, :, None] != PARTS[:, None, :]), tf.float32)


def attend_plainly(x, kernel, bias, output_kernel, mask, factors):
    projected = tf.reshape(x @ kernel + bias, (BATCH, LENGTH, 3, HEADS, SIZE))
    query, key, value = tf.unstack(projected, axis=2)
    scores = tf.einsum("blhk,bmhk->bhlm", query, key) / math.sqrt(SIZE)
    weights = tf.nn.softmax(scores + mask[:, None]) * factors
    context = tf.einsum("bhlm,bmhk->blhk", weights, value)
    return tf.reshape(context, (-1, HIDDEN)) @ output_kernel


@pytest.mark.usefixtures("xla_for_cpus")
@pytest.mark.parametrize(
    "attend", [attention.attend_cpu, attention.attend_xla], ids=["cpu", "xla"]
)
@pytest.mark.parametrize("seed", [SEED, None], ids=["dropout", "no dropout"])
@pytest.mark.parametrize("mask", [PADDING, BLOCKS], ids=["padding", "blocks"])
def test_attend_and_its_gradient_equal_tensorflow(seed, attend, mask):
    rng = np.random.default_rng(0)
    shapes = [
        (BATCH * LENGTH, HIDDEN),
        (HIDDEN, 3 * HIDDEN),
        (3 * HIDDEN,),
        (HIDDEN, HIDDEN),
    ]
    tensors = [tf.constant(rng.normal(0, 0.4, shape), tf.float32) for shape in shapes]
    factors = 1.0
    if seed is not None:
        scores = tf.zeros([BATCH, HEADS, LENGTH, LENGTH])
        kept = dropout_lib.draw_mask(scores, SEED, RATE)
        factors = tf.cast(kept, tf.float32) / (1 - RATE)
        if attend is attention.attend_xla:  # Entries are numbered in another order.
            factors = tf.transpose(factors, (0, 1, 3, 2))
    outer = tf.constant(rng.normal(size=shapes[0]), tf.float32)

    def run_attend(x, *weights):
        weights = attention.AttentionWeights(*weights)
        return attend(x, weights, mask, HEADS, seed, RATE)

    results = []
    for compute in (
        run_attend,
        lambda *tensors: attend_plainly(*tensors, mask, factors),
    ):
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            y = compute(*tensors)
        results.append((y, *tape.gradient(y, tensors, outer)))
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=5e-5)

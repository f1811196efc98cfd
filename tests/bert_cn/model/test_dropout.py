import math

import numpy as np
import pytest
import tensorflow as tf

from bert_cn.model import dropout

SHAPE = (1000, 1000)
# Five deviations of the mean of a million fair coins, or of their products.
TOLERANCE = 5 / 1000


def draw(*seed, rate=0.5, shape=SHAPE):
    mask = dropout.draw_mask(tf.zeros(shape), tf.constant(seed), rate)
    return mask.numpy()


def correlate(one, other):
    return np.mean((2.0 * one - 1) * (2.0 * other - 1))


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_mask_drops_its_share(rate):
    deviation = math.sqrt(rate * (1 - rate)) / 1000
    assert 1 - draw(3, 4, rate=rate).mean() == pytest.approx(rate, abs=5 * deviation)


@pytest.mark.parametrize("axis", [0, 1])
def test_neighbouring_rows_and_columns_share_their_numbers(axis):
    # The mean of a thousand coins has deviation 0.5 / sqrt(1000).
    means = draw(3, 4).mean(axis=axis)
    assert np.abs(means - 0.5).max() < 5 * 0.5 / math.sqrt(1000)
    assert means.std() == pytest.approx(0.5 / math.sqrt(1000), rel=0.1)


@pytest.mark.parametrize("other", [(3, 5), (4, 4), (4, 3), (3, 4 + 4096), (-3, 4)])
@pytest.mark.parametrize("lag", [0, 1, 2, 1000])
def test_other_seeds_and_neighbours_are_independent(other, lag):
    one, two = draw(3, 4).ravel(), draw(*other).ravel()
    assert abs(correlate(one[lag:], two[: two.size - lag])) < TOLERANCE
    if lag:
        assert abs(correlate(one[lag:], one[:-lag])) < TOLERANCE


@pytest.mark.usefixtures("xla_for_cpus")
def test_mask_is_the_same_compiled_and_of_unknown_shape():
    seed = tf.constant([3, 4])
    expected = draw(3, 4, shape=(7, 3, 5))
    for signature in ([7, 3, 5], [None, 3, None]):
        compiled = tf.function(
            lambda x: dropout.draw_mask(x, seed, 0.5),
            input_signature=[tf.TensorSpec(signature)],
            jit_compile=None not in signature,
        )
        np.testing.assert_array_equal(compiled(tf.zeros([7, 3, 5])), expected)

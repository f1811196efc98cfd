import keras
import numpy as np
import pytest
import tensorflow as tf

from bert_cn import optimization


def make_variables():
    kernel = keras.Variable(
        np.array([[1.0, -2.0], [3.0, 0.5]], np.float32), name="kernel"
    )
    bias = keras.Variable(np.array([0.5, -0.5], np.float32), name="bias")
    return [kernel, bias]


def reference_updates(weights, gradients_per_step, learning_rates, decays):
    """google-research/bert's AdamWeightDecayOptimizer in float64 NumPy."""
    weights = [np.asarray(weight, np.float64) for weight in weights]
    m = [np.zeros_like(weight) for weight in weights]
    v = [np.zeros_like(weight) for weight in weights]
    for gradients, learning_rate in zip(
        gradients_per_step, learning_rates, strict=True
    ):
        for i, gradient in enumerate(gradients):
            m[i] = 0.9 * m[i] + 0.1 * gradient
            v[i] = 0.999 * v[i] + 0.001 * gradient**2
            update = m[i] / (np.sqrt(v[i]) + 1e-6)
            if decays[i]:
                update = update + 0.01 * weights[i]
            weights[i] = weights[i] - learning_rate * update
    return weights


def test_bert_adamw_matches_numpy_reference():
    rng = np.random.default_rng(0)
    variables = make_variables()
    start = [variable.numpy() for variable in variables]
    gradients = [[rng.normal(size=(2, 2)), rng.normal(size=2)] for _ in range(10)]
    schedule = optimization.WarmupLinearDecay(0.1, 10, 4)
    optimizer = optimization.BertAdamW(schedule)
    for step in gradients:
        optimizer.apply([tf.constant(g, tf.float32) for g in step], variables)
    rates = [float(schedule(step)) for step in range(10)]
    expected = reference_updates(start, gradients, rates, decays=[True, False])
    for variable, value in zip(variables, expected, strict=True):
        np.testing.assert_allclose(variable.numpy(), value, atol=1e-5)


def test_zero_gradient_decays_kernels_only():
    variables = make_variables()
    optimizer = optimization.BertAdamW(learning_rate=0.5)
    optimizer.apply([tf.zeros((2, 2)), tf.zeros(2)], variables)
    np.testing.assert_allclose(
        variables[0].numpy(), np.array([[1.0, -2.0], [3.0, 0.5]]) * (1 - 0.5 * 0.01)
    )
    np.testing.assert_array_equal(variables[1].numpy(), [0.5, -0.5])


@pytest.mark.parametrize(
    ("step", "rate"),
    [(0, 0.0), (5, 0.5), (9, 0.9), (10, 0.9), (50, 0.5), (100, 0.0), (120, 0.0)],
)
def test_schedule_warms_up_then_decays_to_zero(step, rate):
    # Google decays from step 0, so the peak is not quite reached: 0.9 after warm-up.
    schedule = optimization.WarmupLinearDecay(1.0, 100, 10)
    assert float(schedule(step)) == pytest.approx(rate, abs=1e-6)


def test_no_warmup_starts_at_the_peak():
    schedule = optimization.WarmupLinearDecay(2.0, 100, 0)
    assert float(schedule(0)) == 2.0


def test_clipping_bounds_the_global_norm_of_dense_and_sparse_gradients():
    sparse = tf.IndexedSlices(
        tf.constant([[3.0], [0.0]]), tf.constant([1, 0]), tf.constant([4, 1])
    )
    clipped, norm = optimization.clip_gradients([sparse, tf.constant([4.0])])
    assert float(norm) == pytest.approx(5.0)
    np.testing.assert_allclose(clipped[0], [[0.0], [0.6], [0.0], [0.0]], rtol=1e-6)
    np.testing.assert_allclose(clipped[1], [0.8], rtol=1e-6)

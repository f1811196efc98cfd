import contextlib
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf

from bert_cn.training import optimization, schedules


def make_variables():
    kernel = keras.Variable(
        np.array([[1.0, -2.0], [3.0, 0.5]], np.float32), name="kernel"
    )
    bias = keras.Variable(np.array([0.5, -0.5], np.float32), name="bias")
    return [kernel, bias]


def reference_updates(kind, weights, gradients_per_step, learning_rates, decays):
    """The equations of AdamW and LAMB in float64 NumPy, one variable at a time.

    "bert_adamw" is google-research/bert's AdamWeightDecayOptimizer, "lamb" algorithm 2
    of You et al., 2019.
    """
    results = []
    for i, weight in enumerate(weights):
        w = np.asarray(weight, np.float64)
        m, v = np.zeros_like(w), np.zeros_like(w)
        for t, gradients in enumerate(gradients_per_step, 1):
            m = 0.9 * m + 0.1 * gradients[i]
            v = 0.999 * v + 0.001 * gradients[i] ** 2
            corrected = kind != "bert_adamw"
            m_hat = m / (1 - 0.9**t) if corrected else m
            v_hat = v / (1 - 0.999**t) if corrected else v
            update = m_hat / (np.sqrt(v_hat) + 1e-6) + decays[i] * 0.01 * w
            ratio = 1.0
            if kind == "lamb" and decays[i]:
                ratio = np.linalg.norm(w) / np.linalg.norm(update)
            w = w - learning_rates[t - 1] * ratio * update
        results.append(w)
    return results


def run_steps(optimizer, gradients_per_step) -> tuple[list, list]:
    variables = make_variables()
    start = [variable.numpy() for variable in variables]
    for gradients in gradients_per_step:
        optimizer.apply([tf.constant(g, tf.float32) for g in gradients], variables)
    return start, [variable.numpy() for variable in variables]


@pytest.fixture
def random_gradients():
    rng = np.random.default_rng(0)
    return [[rng.normal(size=(2, 2)), rng.normal(size=2)] for _ in range(10)]


@pytest.mark.parametrize("kind", optimization.OPTIMIZERS)
def test_optimizer_matches_numpy_reference(kind, random_gradients):
    schedule = schedules.WarmupSchedule(0.1, 10, 4)
    optimizer = optimization.OPTIMIZERS[kind](schedule)
    start, found = run_steps(optimizer, random_gradients)
    rates = [float(schedule(step)) for step in range(10)]
    expected = reference_updates(kind, start, random_gradients, rates, [True, False])
    for one, other in zip(found, expected, strict=True):
        # The kernel computes 1 - 0.999 in float32, which is off by 1.3e-5 of itself.
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=1e-5)


def test_adamw_matches_keras(random_gradients):
    theirs = keras.optimizers.AdamW(
        learning_rate=0.01, weight_decay=0.01, epsilon=1e-6, clipnorm=None
    )
    theirs.exclude_from_weight_decay(var_names=["bias"])
    ours = optimization.AdamW(learning_rate=0.01)
    (_, found), (_, expected) = (
        run_steps(optimizer, random_gradients) for optimizer in (ours, theirs)
    )
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_zero_gradient_decays_kernels_only():
    variables = make_variables()
    optimizer = optimization.BertAdamW(learning_rate=0.5)
    optimizer.apply([tf.zeros((2, 2)), tf.zeros(2)], variables)
    np.testing.assert_allclose(
        variables[0].numpy(), np.array([[1.0, -2.0], [3.0, 0.5]]) * (1 - 0.5 * 0.01)
    )
    np.testing.assert_array_equal(variables[1].numpy(), [0.5, -0.5])


def test_clipping_bounds_the_global_norm_of_dense_and_sparse_gradients():
    sparse = tf.IndexedSlices(
        tf.constant([[3.0], [0.0]]), tf.constant([1, 0]), tf.constant([4, 1])
    )
    optimizer = mock.Mock()
    variables = make_variables()
    norm = optimization.apply_gradients(
        optimizer, [sparse, tf.constant([4.0])], variables
    )
    clipped, updated = optimizer.apply.call_args.args
    assert updated is variables
    assert float(norm) == pytest.approx(5.0)
    np.testing.assert_allclose(clipped[0], [[0.0], [0.6], [0.0], [0.0]], rtol=1e-6)
    np.testing.assert_allclose(clipped[1], [0.8], rtol=1e-6)


def build_encoder_variable(name: str, shape: tuple[int, ...]) -> keras.Variable:
    """A variable with the path that one of the encoder's has."""
    value = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    *scopes, last = name.split("/")
    with contextlib.ExitStack() as stack:
        for scope in scopes:
            stack.enter_context(keras.name_scope(scope))
        return keras.Variable(value, name=last)


# Path -> shape, and [in, out] as Muon sees it.
MUON_KERNELS = {
    "bert/transformer_layer_0/self_attention_layer/query/kernel": ((6, 2, 3), (6, 6)),
    "bert/transformer_layer_0/self_attention_layer/attention_output/kernel": (
        (2, 3, 6),
        (6, 6),
    ),
    "bert/transformer_layer_0/feedforward_output_dense/kernel": ((12, 6), (12, 6)),
    "masked_lm_head/dense/kernel": ((6, 6), (6, 6)),
}


@pytest.mark.parametrize("name", MUON_KERNELS)
def test_muon_moves_a_kernel_by_a_matrix_of_equal_singular_values(name):
    shape, matrix_shape = MUON_KERNELS[name]
    kernel = build_encoder_variable(name, shape)
    before = kernel.numpy()
    optimizer = optimization.Muon(0.5, weight_decay_rate=0.1, rate_ratio=0.02)
    optimizer.build([kernel])
    gradient = np.random.default_rng(2).normal(size=shape).astype(np.float32)

    optimizer.apply([tf.constant(gradient)], [kernel])

    moved = (before * (1 - 0.5 * 0.02 * 0.1) - kernel.numpy()) / (0.5 * 0.02)
    update = moved.reshape(matrix_shape) / (0.2 * np.sqrt(max(matrix_shape)))
    left, values, right = np.linalg.svd(gradient.reshape(matrix_shape))
    left_of_update, values_of_update, _ = np.linalg.svd(update)
    assert values.max() / values.min() > 2
    assert 0.5 < values_of_update.min() <= values_of_update.max() < 1.4
    rank = min(matrix_shape)
    # In the gradient's own singular vectors the update is diagonal and positive.
    inner = left[:, :rank].T @ update @ right.T
    np.testing.assert_allclose(inner, np.diag(np.diag(inner)), atol=0.05)
    assert (np.diag(inner) > 0.5).all()


def test_muon_adds_up_momentum_in_nesterovs_form():
    kernel = build_encoder_variable("masked_lm_head/dense/kernel", (4, 4))
    optimizer = optimization.Muon(1.0, weight_decay_rate=0.0, momentum=0.5)
    optimizer.build([kernel])
    gradients = np.random.default_rng(3).normal(size=(2, 4, 4)).astype(np.float32)
    optimizer.apply([tf.constant(gradients[0])], [kernel])
    before = kernel.numpy()

    optimizer.apply([tf.constant(gradients[1])], [kernel])

    momentum = 0.5 * gradients[0] + gradients[1]
    left, _, right = np.linalg.svd(gradients[1] + 0.5 * momentum)
    inner = left.T @ (before - kernel.numpy()) @ right.T
    np.testing.assert_allclose(inner, np.diag(np.diag(inner)), atol=0.05)


@pytest.mark.parametrize(
    "name", ["bert/pooled_dense/kernel", "bert/token_embedding/embeddings"]
)
def test_muon_leaves_other_matrices_to_adamw(name):
    variables = [build_encoder_variable(name, (4, 4)) for _ in range(2)]
    gradient = tf.constant(np.random.default_rng(4).normal(size=(4, 4)), tf.float32)
    for kind, variable in zip(
        (optimization.Muon, optimization.AdamW), variables, strict=True
    ):
        optimizer = kind(0.1)
        optimizer.build([variable])
        optimizer.apply([gradient], [variable])
    np.testing.assert_array_equal(*variables)


@pytest.mark.parametrize("kind", optimization.OPTIMIZERS)
def test_lower_layers_take_smaller_steps(kind):
    """With decay 1/2 and two layers: heads 1, layers 1/2 and 1/4, embeddings 1/8."""
    places = {
        "masked_lm_head/dense/kernel": 1.0,
        "transformer_layer_1/feedforward_output_dense/kernel": 0.5,
        "transformer_layer_0/self_attention_layer/query/kernel": 0.25,
        "token_embedding/embeddings": 0.125,
        "embeddings_layer_norm/gamma": 0.125,
    }

    def move(layer_decay):
        variables = []
        for path in places:
            *scope, name = path.split("/")
            with contextlib.ExitStack() as stack:
                for part in scope:
                    stack.enter_context(keras.name_scope(part))
                variables.append(keras.Variable(np.eye(4, dtype="float32"), name=name))
        optimizer = optimization.OPTIMIZERS[kind](0.01, 0.0, layer_decay=layer_decay)
        gradients = [tf.constant(np.eye(4), tf.float32) for _ in variables]
        optimizer.apply(gradients, variables)
        return [np.abs(variable.numpy() - np.eye(4)).max() for variable in variables]

    ratios = np.array(move(0.5)) / np.array(move(1.0))
    np.testing.assert_allclose(ratios, list(places.values()), rtol=1e-3)


@pytest.mark.parametrize("kind", optimization.OPTIMIZERS)
def test_weights_are_pulled_to_where_they_started(kind):
    """With no gradient, half of the distance is left after a step of rate 0.5 and 1."""
    variables = make_variables()
    optimizer = optimization.OPTIMIZERS[kind](0.5, 0.0, l2_to_init=1.0)
    optimizer.build(variables)
    start = [variable.numpy() for variable in variables]
    optimizer.remember_start(variables)
    for variable in variables:
        variable.assign(variable + 1.0)
    optimizer.apply([tf.zeros(v.shape) for v in variables], variables)
    np.testing.assert_allclose(variables[0], start[0] + 0.5, rtol=1e-6)
    np.testing.assert_allclose(variables[1], start[1] + 1.0, rtol=1e-6)  # A bias.

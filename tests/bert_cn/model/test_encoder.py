"""Our forward and backward pass against KerasHub's own on the same weights."""

import dataclasses

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from bert_cn.model import config as config_lib
from bert_cn.model import encoder as encoder_lib
from bert_cn.model import fused_ops

LENGTHS = (32, 20, 9, 1)
CONFIG = config_lib.BertConfig(
    vocab_size=50,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=64,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
    max_position_embeddings=40,
)


@pytest.fixture
def inputs():
    rng = np.random.default_rng(1)
    shape = (len(LENGTHS), max(LENGTHS))
    return {
        "token_ids": tf.constant(rng.integers(0, 50, shape), tf.int32),
        "segment_ids": tf.constant(rng.integers(0, 2, shape), tf.int32),
        "padding_mask": tf.sequence_mask(LENGTHS, dtype=tf.int32),
    }


def build_pair(**arguments):
    """Return KerasHub's encoder with weights that are not small, and ours with them."""
    theirs = keras_hub.models.BertBackbone(
        vocabulary_size=50,
        num_layers=2,
        num_heads=4,
        hidden_dim=32,
        intermediate_dim=64,
        dropout=0.0,
        max_sequence_length=40,
    )
    ours = encoder_lib.BertEncoder(CONFIG, **arguments)
    rng = np.random.default_rng(2)
    for one, other in zip(theirs.variables, ours.trainable_variables, strict=True):
        assert one.path.split("/")[1:] == other.path.split("/")[1:]
        one.assign(one.numpy() + rng.normal(0, 0.2, one.shape))
        other.assign(one)
    return theirs, ours


def run(encoder, inputs, training=True, jit_compile=False):
    """Return outputs and gradients of a sum over all that is no padding."""
    real = tf.cast(inputs["padding_mask"], tf.float32)[..., tf.newaxis]

    @tf.function(autograph=False, jit_compile=jit_compile)
    def compute():
        with tf.GradientTape() as tape:
            outputs = encoder(inputs, training=training)
            loss = tf.reduce_sum(real * tf.sin(outputs["sequence_output"]))
            loss += tf.reduce_sum(tf.sin(outputs["pooled_output"]))
        variables = [variable.value for variable in encoder.trainable_variables]
        gradients = [tf.convert_to_tensor(g) for g in tape.gradient(loss, variables)]
        return (outputs["sequence_output"] * real, outputs["pooled_output"]), gradients

    return compute()


@pytest.mark.parametrize(
    "arguments",
    [{}, {"training_ops": fused_ops.CPU}, {"recompute_layers": True}],
    ids=["plain", "fused", "recomputed"],
)
@pytest.mark.usefixtures("xla_for_cpus")
def test_outputs_and_gradients_equal_keras_hub(inputs, arguments):
    theirs, ours = build_pair(**arguments)
    expected, expected_gradients = run(theirs, inputs)
    found, gradients = run(ours, inputs)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5)
    for variable, one, other in zip(
        ours.trainable_variables, gradients, expected_gradients, strict=True
    ):
        np.testing.assert_allclose(one, other, atol=2e-4, err_msg=variable.path)


@pytest.mark.parametrize("how", ["plain", "fused", "compiled"])
def test_recomputed_layers_drop_the_same_entries(inputs, how, request):
    if how != "plain":
        request.getfixturevalue("xla_for_cpus")
    ops = fused_ops.CPU if how == "fused" else fused_ops.XLA
    config = dataclasses.replace(
        CONFIG, hidden_dropout_prob=0.3, attention_probs_dropout_prob=0.4
    )
    results = []
    for recompute_layers in (False, True):
        keras.utils.set_random_seed(5)
        encoder = encoder_lib.BertEncoder(config, recompute_layers, ops)
        results.append(run(encoder, inputs, jit_compile=how == "compiled"))
    for one, other in zip(*map(tf.nest.flatten, results), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_dropout_differs_between_passes_and_is_off_outside_training(inputs):
    config = dataclasses.replace(CONFIG, hidden_dropout_prob=0.5)
    encoder = encoder_lib.BertEncoder(config)
    first, second = (encoder(inputs, training=True)["pooled_output"] for _ in range(2))
    assert np.abs(first - second).max() > 0.01
    first, second = (encoder(inputs, training=False)["pooled_output"] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_both_dropout_rates_are_used(inputs):
    encoders = []
    for hidden, attention in ((0.0, 0.5), (0.5, 0.0), (0.0, 0.0)):
        keras.utils.set_random_seed(5)
        config = dataclasses.replace(
            CONFIG, hidden_dropout_prob=hidden, attention_probs_dropout_prob=attention
        )
        encoders.append(encoder_lib.BertEncoder(config))
    outputs = [encoder(inputs, training=True)["pooled_output"] for encoder in encoders]
    still = encoders[0](inputs, training=False)["pooled_output"]
    assert np.abs(outputs[0] - still).max() > 1e-6
    assert np.abs(outputs[1] - still).max() > 1e-3
    np.testing.assert_array_equal(outputs[2], still)


def test_shifted_positions_are_rows_of_the_table_from_one_row_on(inputs):
    theirs, ours = build_pair(shift_positions=True)
    table = ours.position_embedding.position_embeddings
    rows = table.numpy()
    before = ours(inputs, training=False)["sequence_output"].numpy()
    np.testing.assert_allclose(
        before, theirs(inputs)["sequence_output"], rtol=1e-4, atol=1e-4
    )
    expected = []
    for first in range(40 - 32 + 1):
        table.assign(np.roll(rows, -first, axis=0))
        expected.append(ours(inputs, training=False)["sequence_output"].numpy())
    table.assign(rows)
    found = set()
    for _ in range(60):
        shifted = ours(inputs, training=True)["sequence_output"].numpy()
        away = [np.abs(shifted - one).max() for one in expected]
        assert min(away) < 1e-4
        found.add(int(np.argmin(away)))
    assert found == set(range(len(expected)))
    # Every row learns.
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(ours(inputs, training=True)["sequence_output"] ** 2)
    gradient = tf.convert_to_tensor(tape.gradient(loss, table.value))
    assert tf.math.count_nonzero(tf.reduce_any(gradient != 0, axis=1)) == 32

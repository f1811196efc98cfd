import dataclasses
import math
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf

from bert_cn.model import fused_ops, initial_weights, pretraining_model
from data_prep.records import schema


def run(model, batch, **changes):
    names = (*schema.SEQUENCE_FEATURES, schema.MASKED_LM_POSITIONS)
    inputs = {name: changes.get(name, batch[name]) for name in names}
    return pretraining_model.predict(model, inputs)


def test_outputs_have_documented_shapes(small_config, small_batch):
    model = pretraining_model.build_pretraining_model(small_config)
    outputs = run(model, small_batch)
    assert set(model.output) == set(outputs) - {"mlm_logits"}
    shapes = {name: tuple(value.shape) for name, value in outputs.items()}
    assert shapes == {
        "sequence_output": (4, 16, 8),
        "pooled_output": (4, 8),
        "mlm_hidden": (4, 3, 8),
        "mlm_logits": (4, 3, 40),
        "nsp_logits": (4, 2),
    }


def test_mlm_logits_equal_numpy_on_the_sequence_output(small_config, small_batch):
    model = pretraining_model.build_pretraining_model(small_config)
    outputs = run(model, small_batch)
    head = model.get_layer(pretraining_model.MLM_HEAD)
    head.bias.assign(np.linspace(-1, 1, 40, dtype=np.float32))
    head.layer_norm.beta.assign(np.linspace(-1, 1, 8, dtype=np.float32))
    outputs = run(model, small_batch)

    positions = small_batch[schema.MASKED_LM_POSITIONS].numpy()
    sequence = outputs["sequence_output"].numpy().astype(np.float64)
    x = np.take_along_axis(sequence, positions[..., None], axis=1)
    x = x @ head.dense.kernel.numpy() + head.dense.bias.numpy()
    x = 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12)
    x = x * head.layer_norm.gamma.numpy() + head.layer_norm.beta.numpy()
    table = model.get_layer("bert").token_embedding.embeddings.numpy()
    expected = x @ table.T + head.bias.numpy()
    np.testing.assert_allclose(outputs["mlm_logits"], expected, atol=2e-5)


def test_masked_out_tokens_do_not_change_the_others(small_config, small_batch):
    model = pretraining_model.build_pretraining_model(small_config)
    mask = small_batch[schema.INPUT_MASK].numpy()
    mask[:, 10:] = 0
    ids = small_batch[schema.INPUT_IDS].numpy()
    other_ids = ids.copy()
    other_ids[:, 10:] = 7
    outputs = [
        run(model, small_batch, input_mask=tf.constant(mask), input_ids=tf.constant(i))
        for i in (ids, other_ids)
    ]
    np.testing.assert_allclose(
        outputs[0]["sequence_output"][:, :10], outputs[1]["sequence_output"][:, :10]
    )


def test_exact_gelu_differs_from_tanh_gelu_as_the_functions_do():
    x = np.linspace(-4, 4, 101).astype(np.float32)
    exact = np.array([v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in x])
    np.testing.assert_allclose(pretraining_model.gelu_exact(x), exact, atol=1e-6)
    difference = np.abs(
        pretraining_model.gelu_exact(x) - pretraining_model.gelu_tanh(x)
    ).max()
    assert 1e-4 < difference < 1e-3


def test_hidden_act_reaches_every_layer(small_config, small_batch):
    exact = dataclasses.replace(small_config, hidden_act="gelu_erf")
    models = [
        pretraining_model.build_pretraining_model(c) for c in (small_config, exact)
    ]
    models[1].set_weights(models[0].get_weights())
    tanh, erf = (run(model, small_batch)["mlm_logits"].numpy() for model in models)
    assert 0 < np.abs(tanh - erf).max() < 1e-3


def test_initializer_range_sets_the_deviation_of_kernels(small_config):
    config = dataclasses.replace(small_config, initializer_range=0.2, vocab_size=4000)
    table = pretraining_model.build_encoder(config).token_embedding.embeddings.numpy()
    # A normal of deviation 0.2 cut at two deviations has deviation 0.176.
    assert table.std() == pytest.approx(0.176, abs=0.003)
    assert np.abs(table).max() <= 0.4


@pytest.mark.parametrize("ops", [fused_ops.XLA, fused_ops.CPU], ids=["xla", "cpu"])
def test_training_softmax_over_the_tokens_seen_is_that_over_all(
    small_config, small_batch, ops, request
):
    if ops is fused_ops.CPU:
        request.getfixturevalue("xla_for_cpus")
    model = pretraining_model.build_pretraining_model(small_config, training_ops=ops)
    head = model.get_layer(pretraining_model.MLM_HEAD)
    head.bias.assign(np.linspace(-1, 1, 40, dtype=np.float32))
    seen = np.unique(np.append(small_batch[schema.MASKED_LM_IDS].numpy(), [7, 9]))
    assert 3 < len(seen) < 30
    initial_weights.exclude_outputs(head, seen)
    hidden = run(model, small_batch)[pretraining_model.MLM_HIDDEN]
    variables = [head.token_embedding.embeddings.value, head.bias.value]

    def measure():
        with tf.GradientTape() as tape:
            tape.watch(hidden)
            sums = head.sum_losses(
                hidden,
                small_batch[schema.MASKED_LM_IDS],
                small_batch[schema.MASKED_LM_WEIGHTS],
            )
        gradients = tape.gradient(sums.objective, [hidden, *variables])
        return [*sums, *map(tf.convert_to_tensor, gradients)]

    over_all = measure()
    head.limit_training(seen)
    over_seen = measure()
    for one, other in zip(over_all, over_seen, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    # What evaluation and every client of the weights computes.
    logits = head.compute_logits(hidden).numpy()
    assert set(np.unique(logits.argmax(-1))) <= set(seen)


@pytest.mark.parametrize("ops", [fused_ops.XLA, fused_ops.CPU], ids=["xla", "cpu"])
def test_teacher_of_the_same_weights_leaves_nothing_to_learn(
    small_config, small_batch, ops, xla_for_cpus
):
    model = pretraining_model.build_pretraining_model(small_config, training_ops=ops)
    head = model.get_layer(pretraining_model.MLM_HEAD)
    head.bias.assign(np.linspace(-1, 1, 40, dtype=np.float32))
    hidden = run(model, small_batch)[pretraining_model.MLM_HIDDEN]
    labels = small_batch[schema.MASKED_LM_IDS]
    weights = small_batch[schema.MASKED_LM_WEIGHTS]

    def measure(teacher):
        with tf.GradientTape() as tape:
            tape.watch(hidden)
            sums = head.sum_losses(hidden, labels, weights, teacher)
        return sums, tf.abs(tape.gradient(sums.objective, hidden))

    for outputs in (None, np.unique(np.append(labels.numpy(), [7, 9]))):
        if outputs is not None:
            head.limit_training(outputs)
        _, alone = measure(None)
        sums, taught = measure(pretraining_model.Teacher(head, hidden, 1.0))
        assert tf.reduce_max(taught) < 1e-5 < 1e-3 < tf.reduce_max(alone)
        # What is left of the objective is the entropy of the teacher.
        table, bias = head._select_outputs(outputs)
        flat = tf.reshape(hidden, (-1, hidden.shape[-1]))
        logs = tf.nn.log_softmax(tf.matmul(flat, table, transpose_b=True) + bias)
        entropy = -tf.reduce_sum(tf.exp(logs) * logs, -1)
        np.testing.assert_allclose(
            sums.objective,
            tf.reduce_sum(entropy * tf.reshape(weights, [-1])),
            rtol=1e-5,
        )


def test_unused_predictions_cost_nothing_where_shapes_may_vary(
    small_config, xla_for_cpus
):
    config = dataclasses.replace(small_config, vocab_size=100)
    model = pretraining_model.build_pretraining_model(
        config, training_ops=fused_ops.CPU
    )
    head = model.get_layer(pretraining_model.MLM_HEAD)
    rng = np.random.default_rng(0)
    weights = (rng.random((32, 5)) < 0.3).astype(np.float32)
    hidden = tf.constant(rng.normal(size=(32, 5, 8)), tf.float32)
    labels = tf.constant(rng.integers(100, size=(32, 5)), tf.int32)
    rows = []

    def sum_masked_lm(hidden, *arguments):
        rows.append(hidden.shape[0])
        return fused_ops.CPU.sum_masked_lm(hidden, *arguments)

    head._training_ops = mock.Mock(has_dynamic_shapes=True, sum_masked_lm=sum_masked_lm)
    compact = head.sum_losses(hidden, labels, tf.constant(weights))
    assert rows == [64]
    head._training_ops = fused_ops.XLA
    whole = head.sum_losses(hidden, labels, tf.constant(weights))
    np.testing.assert_allclose(compact, whole, rtol=1e-5)

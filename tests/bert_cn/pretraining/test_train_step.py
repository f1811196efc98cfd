import dataclasses
import time

import numpy as np
import pytest
import tensorflow as tf

from bert_cn.model import fused_ops
from bert_cn.pretraining import input_pipeline, train_step
from bert_cn.pretraining import settings as settings_lib


def test_wait_for_input_is_measured(start_run, files):
    trainer = start_run().trainer
    batches = input_pipeline.build_train_dataset(files, 8, seed=5).take(5).cache()
    list(batches)

    def wait(batch):
        tf.py_function(lambda: time.sleep(0.05), [], [])
        return batch

    slow, quick = (
        float(trainer.train_steps(iter(dataset), tf.constant(5)).input_seconds)
        for dataset in (batches.map(wait), batches)
    )
    # One batch may be on its way before the clock starts.
    assert 0.15 < slow < 5
    assert 0 < quick < slow / 2


@pytest.mark.usefixtures("xla_for_cpus")
def test_update_compiled_by_xla_is_the_same(start_run, small_config, files, tmp_path):
    config = dataclasses.replace(
        small_config, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    found = []
    for jit_compile in (False, True):
        run = start_run(
            tmp_path / str(jit_compile),
            config,
            gradient_accumulation_steps=2,
            jit_compile=jit_compile,
        )
        compiled = isinstance(
            run.trainer._update, tf.types.experimental.GenericFunction
        )
        assert compiled == jit_compile
        dataset = input_pipeline.build_train_dataset(files, 8, seed=5)
        results = run.trainer.train_steps(iter(dataset), tf.constant(8))
        found.append([results.sums.numpy(), *run.weights()])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def train_two_steps(start_run, files, folder, **settings):
    run = start_run(folder, **settings)
    dataset = input_pipeline.build_train_dataset(files, 8, seed=5)
    run.trainer.train_steps(iter(dataset), tf.constant(2))
    return run


def test_pretraining_dropout_takes_the_place_of_the_configurations(
    start_run, files, small_config, tmp_path
):
    config = dataclasses.replace(
        small_config, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    named = train_two_steps(start_run, files, tmp_path / "named", config=config)
    by_flag = train_two_steps(
        start_run, files, tmp_path / "flag", pretraining_dropout=0
    )
    for one, other in zip(named.weights(), by_flag.weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_sentence_loss_of_weight_0_moves_nothing(start_run, files, tmp_path):
    def head(run):
        return run.trainer.model.get_layer("next_sentence_head").kernel.numpy()

    still = train_two_steps(
        start_run,
        files,
        tmp_path / "still",
        next_sentence_weight=0.0,
        weight_decay_rate=0.0,
    )
    start = start_run(tmp_path / "start", weight_decay_rate=0.0)
    np.testing.assert_array_equal(head(still), head(start))
    moved = train_two_steps(start_run, files, tmp_path / "moved", weight_decay_rate=0.0)
    assert not np.array_equal(head(moved), head(start))


def test_update_compiled_as_a_whole_has_fixed_shapes():
    """Shapes that may vary cost XLA's program for a CPU sixty times the time."""
    choose = train_step.choose_training_ops
    args = settings_lib.PretrainingArgs()
    assert choose(args) is fused_ops.CPU
    whole = choose(dataclasses.replace(args, jit_compile=True))
    assert whole is fused_ops.XLA
    assert not whole.has_dynamic_shapes

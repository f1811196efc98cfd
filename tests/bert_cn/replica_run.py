"""Run by test_replicas.py: train some steps on logical devices, save what came out."""

import argparse
import dataclasses
import functools
import json
import os
from unittest import mock

import numpy as np
import tensorflow as tf

from bert_cn.model import config as config_lib
from bert_cn.model import pretraining_model
from bert_cn.pretraining import input_pipeline, record_files, train_step
from bert_cn.pretraining import settings as settings_lib
from bert_cn.training import hosts, optimization
from bert_cn.training import strategy as strategy_lib
from data_prep.records import schema
from tests.bert_cn import records

CONFIG = config_lib.BertConfig(
    vocab_size=records.VOCAB_SIZE,
    hidden_size=8,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=16,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
    max_position_embeddings=records.LENGTH,
)


def build_strategy(devices: int) -> tf.distribute.Strategy:
    if "TF_CONFIG" in os.environ:
        return strategy_lib.build_strategy()
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * devices
    )
    if devices == 1:
        return tf.distribute.get_strategy()
    return tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(devices)])


def train(strategy, accumulation_steps: int, paths: list[str], output: str) -> None:
    args = settings_lib.PretrainingArgs(
        learning_rate=0.01,
        num_train_steps=20,
        num_warmup_steps=3,
        gradient_accumulation_steps=accumulation_steps,
        random_seed=1,
    )
    trainer = train_step.build_trainer(args, CONFIG, strategy)
    files = record_files.check_files(
        (record_files.FileGroup(tuple(paths)),), records.LENGTH, records.PREDICTIONS
    )
    # Unequal numbers of masked tokens: normalising by each replica's own would show.
    dataset = input_pipeline.build_train_dataset(files, 8, seed=2).map(drop_predictions)
    if "TF_CONFIG" in os.environ:
        assert strategy_lib.count_hosts(strategy) == 2
        is_second = strategy_lib.worker_index(strategy) == 1
        agreed = [trainer.agree(flag) for flag in (is_second, False, True)]
        assert agreed == [True, False, True]
        index = strategy_lib.worker_index(strategy)
        agreed = [hosts.have_same(strategy, step) for step in (1000, 1000 * index, 0)]
        assert agreed == [True, False, True]
        shares = strategy.distribute_datasets_from_function(
            lambda context: dataset.map(functools.partial(take_share, context=context))
        )
    else:
        shares = strategy.experimental_distribute_dataset(dataset)
    iterator = iter(shares)
    sums = [
        trainer.train_steps(iterator, tf.constant(steps))[0].numpy()
        for steps in (1, 19)
    ]
    weights = {v.path: v.numpy() for v in trainer.model.trainable_variables}
    np.savez(output, first=sums[0], rest=sums[1], **weights)


def take_share(batch, context: tf.distribute.InputContext):
    """Return the part of the global batch that a host with one replica takes."""
    size = context.get_per_replica_batch_size(8)
    start = context.input_pipeline_id * size
    return {name: value[start : start + size] for name, value in batch.items()}


def drop_predictions(batch):
    """Leave a record fewer predictions the higher its number is."""
    numbers = batch[schema.INPUT_IDS][:, -2:-1]
    columns = tf.range(records.PREDICTIONS)[None]
    kept = tf.cast(columns <= 2 - numbers // 14, tf.float32)
    batch[schema.MASKED_LM_WEIGHTS] *= kept
    return batch


def collect_facts(strategy, output: str) -> None:
    """Write what replicas clip, if they compute the same, and what samples show."""

    def clip():
        context = tf.distribute.get_replica_context()
        mine = tf.one_hot(context.replica_id_in_sync_group, 2) * 3.0
        optimizer = mock.Mock()
        optimization.apply_gradients(optimizer, [mine], ["variable"])
        (clipped,), _ = optimizer.apply.call_args.args
        return clipped

    def local(value):
        return [part.numpy() for part in strategy.experimental_local_results(value)]

    config = dataclasses.replace(
        CONFIG, hidden_dropout_prob=0.3, attention_probs_dropout_prob=0.3
    )
    with strategy.scope():
        model = pretraining_model.build_pretraining_model(config)
    record = records.make_record(np.random.default_rng(0), 1)
    inputs = {
        name: tf.constant(record[name][None], tf.int32)
        for name in (*schema.SEQUENCE_FEATURES, schema.MASKED_LM_POSITIONS)
    }

    @tf.function
    def compute(training):
        return strategy.run(lambda: model(inputs, training=training)["sequence_output"])

    equal = [np.array_equal(*local(compute(training))) for training in (True, False)]
    clipped = [part.tolist() for part in local(strategy.run(clip))]
    facts = {
        "clipped": clipped,
        "sequence_outputs_equal": equal,
        "predicted_numbers": predict_numbers(strategy),
    }
    with open(output, "w", encoding="utf-8") as file:
        json.dump(facts, file)


def predict_numbers(strategy) -> list[int]:
    """Return the numbers of the records of a batch that samples are taken from."""
    rng = np.random.default_rng(0)
    rows = [records.make_record(rng, number) for number in range(12)]
    batch = {
        name: np.stack([row[name] for row in rows]).astype(np.int32)
        for name in (*schema.SEQUENCE_FEATURES, schema.MASKED_LM_POSITIONS)
    }
    trainer = train_step.build_trainer(settings_lib.PretrainingArgs(), CONFIG, strategy)
    model = trainer.model
    dataset = strategy.experimental_distribute_dataset(
        tf.data.Dataset.from_tensors(batch).unbatch().batch(12, drop_remainder=True)
    )
    batch, predicted = trainer.predict_batch(next(iter(dataset)))
    whole = {name: tf.constant(value) for name, value in batch.items()}
    run = tf.function(
        lambda: strategy.run(
            lambda: pretraining_model.predict(model, whole)[
                pretraining_model.MLM_LOGITS
            ]
        )
    )
    expected = strategy.experimental_local_results(run())[0].numpy().argmax(-1)
    np.testing.assert_array_equal(predicted, expected)
    return batch[schema.INPUT_IDS][:, -2].tolist()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--devices", type=int, required=True)
    parser.add_argument("--accumulation_steps", type=int, default=1)
    parser.add_argument("--facts", action="store_true")
    parser.add_argument("output")
    parser.add_argument("paths", nargs="*")
    arguments = parser.parse_args()
    strategy = build_strategy(arguments.devices)
    if arguments.facts:
        collect_facts(strategy, arguments.output)
    else:
        train(strategy, arguments.accumulation_steps, arguments.paths, arguments.output)


if __name__ == "__main__":
    main()

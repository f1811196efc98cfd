"""Rows that hold several sequences: the same loss and gradients as one a row."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from bert_cn.model import fused_ops
from bert_cn.pretraining import losses, train_step
from bert_cn.pretraining import settings as settings_lib
from data_prep.records import schema
from tests.bert_cn.records import VOCAB_SIZE

LENGTH, MOST = 40, 4
LENGTHS = ((14, 11, 15), (9, 30), (8, 7, 6, 5), (40,))


def make_sequences() -> list[dict]:
    rng = np.random.default_rng(5)
    made = []
    for number, length in enumerate(size for row in LENGTHS for size in row):
        ids = rng.integers(5, VOCAB_SIZE, length)
        ids[0] = 2
        places = np.sort(rng.choice(np.arange(1, length - 1), 3, replace=False))
        made.append(
            {
                "ids": ids,
                "segments": (np.arange(length) > length // 2).astype(int),
                "places": places,
                "labels": rng.integers(5, VOCAB_SIZE, 3),
                "next": number % 2,
            }
        )
    return made


def pad(values, width: int) -> np.ndarray:
    values = np.concatenate(values) if values else np.zeros(0, int)
    return np.pad(values, (0, width - len(values)))


def lay_out(rows: list[list[dict]]) -> dict[str, tf.Tensor]:
    """Return a batch of rows."""
    features = []
    for row in rows:
        sizes = [len(part["ids"]) for part in row]
        begins = np.cumsum([0, *sizes[:-1]])
        predictions, numbers = 3 * len(row), np.arange(len(row)) + 1
        features.append(
            {
                schema.INPUT_IDS: pad([p["ids"] for p in row], LENGTH),
                schema.INPUT_MASK: pad([np.ones(sum(sizes), int)], LENGTH),
                schema.SEGMENT_IDS: pad([p["segments"] for p in row], LENGTH),
                schema.MASKED_LM_POSITIONS: pad(
                    [p["places"] + b for p, b in zip(row, begins, strict=True)],
                    3 * MOST,
                ),
                schema.MASKED_LM_IDS: pad([p["labels"] for p in row], 3 * MOST),
                schema.MASKED_LM_WEIGHTS: pad([np.ones(predictions)], 3 * MOST),
                schema.NEXT_SENTENCE_LABELS: pad([[p["next"] for p in row]], MOST),
                schema.PART_IDS: pad([np.repeat(numbers, sizes)], LENGTH),
                schema.POSITION_IDS: pad([np.arange(size) for size in sizes], LENGTH),
                schema.CLS_POSITIONS: pad([begins], MOST),
                schema.NEXT_SENTENCE_WEIGHTS: pad([np.ones(len(row), int)], MOST),
            }
        )
    return {
        name: tf.constant(
            np.stack([row[name] for row in features]),
            tf.float32 if name in schema.FLOAT_FEATURES else tf.int32,
        )
        for name in features[0]
    }


def without_parts(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Return the features that records of one sequence have."""
    batch = {n: v for n, v in batch.items() if n not in schema.PART_FEATURES}
    labels = batch[schema.NEXT_SENTENCE_LABELS]
    return batch | {schema.NEXT_SENTENCE_LABELS: labels[:, :1]}


@pytest.fixture(params=[fused_ops.CPU, fused_ops.XLA], ids=["cpu", "xla"])
def build_trainer(request, small_config):
    config = dataclasses.replace(
        small_config,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        max_position_embeddings=48,
    )

    def build(takes_parts: bool, **settings):
        return train_step.build_trainer(
            settings_lib.PretrainingArgs(**settings),
            config,
            tf.distribute.get_strategy(),
            training_ops=request.param,
            takes_parts=takes_parts,
        )

    return build


@pytest.mark.usefixtures("xla_for_cpus")
@pytest.mark.parametrize("settings", [{}, {"recompute_layers": True}], ids=str)
def test_loss_and_gradients_are_those_of_one_sequence_a_row(build_trainer, settings):
    made = make_sequences()
    splits = np.cumsum([len(row) for row in LENGTHS])[:-1]
    packed = lay_out([list(row) for row in np.split(np.array(made), splits)])
    single = without_parts(lay_out([[one] for one in made]))
    results = []
    for takes_parts, batch in ((False, single), (True, packed)):
        trainer = build_trainer(takes_parts, **settings)
        gradients, sums = tf.function(trainer.compute_micro_batch)(batch)
        results.append([sums.numpy(), *(g.numpy() for g in gradients)])
    assert results[0][0][losses.NSP_COUNT] == len(made)
    largest = max(np.abs(gradient).max() for gradient in results[0][1:])
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-5 * largest)


@pytest.mark.usefixtures("xla_for_cpus")
def test_rows_of_one_sequence_are_evaluated_alike(build_trainer):
    batch = without_parts(lay_out([[one] for one in make_sequences()]))
    batch["masked_beside_masked"] = tf.zeros_like(batch[schema.MASKED_LM_IDS])
    plain, taking_parts = build_trainer(False), build_trainer(True)
    results = (plain.eval_step(batch), taking_parts.eval_step(batch))
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)


@pytest.mark.usefixtures("xla_for_cpus")
def test_a_sequence_does_not_see_the_others_of_its_row(build_trainer):
    one, two, three = make_sequences()[:3]
    model = build_trainer(True).model
    names = model.input.keys()
    outputs = []
    for neighbor in (two, three):
        batch = lay_out([[one, neighbor]])
        inputs = {name: batch[name] for name in names}
        outputs.append(model(inputs, training=True)["sequence_output"][:, :14])
    np.testing.assert_array_equal(*outputs)


@pytest.mark.usefixtures("xla_for_cpus")
def test_shifted_positions_of_all_parts_begin_at_one_row(build_trainer):
    model = build_trainer(True, shift_positions=True).model
    part = make_sequences()[3]
    batch = lay_out([[part, part]])
    inputs = {name: batch[name] for name in model.input}
    output = model(inputs, training=True)["sequence_output"].numpy()[0]
    size = len(part["ids"])
    np.testing.assert_allclose(output[:size], output[size : 2 * size], atol=1e-5)
    again = model(inputs, training=True)["sequence_output"].numpy()[0]
    assert np.abs(again - output).max() > 1e-3

"""The gradients of a batch in parts are those of the whole batch, dropout included."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from bert_cn.conversion import formats, sentence_modules
from bert_cn.finetuning import warm_start
from bert_cn.finetuning.sentences import model as sentences_model
from bert_cn.finetuning.sentences import objectives
from tests.bert_cn.finetuning.sentences.test_model import (
    COLUMNS,
    FIRST,
    LENGTH,
    SECOND,
    THIRD,
    make_batch,
)

DROPOUT = {"hidden_dropout_prob": 0.3, "attention_probs_dropout_prob": 0.2}
SHARES = tf.constant([0.25, 0.25, 0.5, 0.0])


def build(build_bert, folder, objective, **config):
    """The same weights and the same seeds at each call."""
    keras.utils.set_random_seed(3)
    formats.write_checkpoint(build_bert(**config), "tf1", str(folder), overwrite=True)
    start = warm_start.load_starting_point(str(folder))
    embedding = sentence_modules.Embedding("mean", True)
    encoder = sentences_model.SentenceEncoder(start, embedding, objective, LENGTH)
    return start, encoder


def differentiate_whole(encoder, batch, parts=1):
    """Loss and gradients by one tape over all parts, which are embedded in order."""
    learner = encoder.build_learner()
    prefixes = ("a_", "b_", "c_") if "c_token_ids" in batch else ("a_", "b_")
    size = len(SHARES) // parts
    with tf.GradientTape() as tape:
        found = [
            encoder.embed(
                {name: value[first : first + size] for name, value in batch.items()},
                prefixes,
                training=True,
            )
            for first in range(0, len(SHARES), size)
        ]
        embeddings = [tf.concat(each, axis=0) for each in zip(*found, strict=True)]
        losses = encoder._compare_widths(batch, embeddings)
        loss = tf.reduce_sum(losses * SHARES)
    return loss, tape.gradient(loss, [v.value for v in learner.trained])


def assert_equal(ours, wanted):
    assert float(wanted[0]) > 0.1
    assert float(ours[0]) == pytest.approx(float(wanted[0]), rel=1e-5)
    assert len(ours[1]) == len(wanted[1]) > 20
    sizes = []
    for mine, theirs in zip(ours[1], wanted[1], strict=True):
        theirs = tf.convert_to_tensor(theirs).numpy()
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)
        sizes.append(np.abs(theirs).max())
    assert np.median(sizes) > 1e-4


@pytest.mark.parametrize("in_graph", [False, True])
@pytest.mark.parametrize("mini_batch_size", [1, 2, 4])
@pytest.mark.parametrize("config", [DROPOUT, dict.fromkeys(DROPOUT, 0.0)])
def test_parts_have_the_gradients_of_the_whole(
    build_bert, tmp_path, mini_batch_size, config, in_graph
):
    objective = objectives.Objective(
        "ranking", matryoshka_dims=(12, 4), mini_batch_size=mini_batch_size
    )
    start, encoder = build(build_bert, tmp_path / "bert", objective, **config)
    batch = make_batch(start, FIRST, SECOND, THIRD)
    parts = len(SHARES) // mini_batch_size
    wanted = differentiate_whole(encoder, batch, parts)
    next_draw = encoder.embed(batch, ("a_",), training=True)[0]

    _, encoder = build(build_bert, tmp_path / "bert", objective, **config)
    learner = encoder.build_learner()

    def differentiate(batch):
        return learner.differentiate(batch, SHARES, learner.trained)

    run = tf.function(differentiate) if in_graph else differentiate
    assert_equal(run(batch), wanted)
    # The seeds stand where one pass leaves them.
    again = encoder.embed(batch, ("a_",), training=True)[0]
    np.testing.assert_allclose(again, next_draw, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["cosent", "angle"])
def test_other_objectives_in_parts(build_bert, tmp_path, name):
    objective = objectives.Objective(name, mini_batch_size=2)
    start, encoder = build(build_bert, tmp_path / "bert", objective)
    batch = make_batch(start, FIRST, SECOND, columns=COLUMNS["cosine"])
    wanted = differentiate_whole(encoder, batch, parts=2)
    _, encoder = build(build_bert, tmp_path / "bert", objective)
    learner = encoder.build_learner()
    assert_equal(learner.differentiate(batch, SHARES, learner.trained), wanted)


def test_rows_that_do_not_divide_are_refused(build_bert, tmp_path):
    objective = objectives.Objective("ranking", mini_batch_size=3)
    start, encoder = build(build_bert, tmp_path / "bert", objective)
    learner = encoder.build_learner()
    batch = make_batch(start, FIRST, SECOND)
    with pytest.raises(ValueError, match="4 rows of a batch, which is no multiple of"):
        learner.differentiate(batch, SHARES, learner.trained)

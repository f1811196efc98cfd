import math

import numpy as np
import pytest
import tensorflow as tf

from bert_cn.model import pretraining_model
from bert_cn.pretraining import eval_metrics
from data_prep.records import schema
from data_prep.text import vocab

# Two records; the third masked position of the second is not in use.
POSITIONS = tf.constant([[1, 2, 4], [5, 3, 4]])
WEIGHTS = tf.constant([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]])
MASKED = {schema.MASKED_LM_POSITIONS: POSITIONS, schema.MASKED_LM_WEIGHTS: WEIGHTS}


def test_stored_masks_are_told_apart_by_their_neighbours():
    marks = eval_metrics.mark_groups(MASKED, None)
    # 1 and 2 are neighbours; 3 and 5 would be so only through the unused 4.
    expected = {eval_metrics.BESIDE_MASKED: [[1, 1, 0], [0, 0, 0]]}
    assert {name: value.numpy().tolist() for name, value in marks.items()} == expected


def test_known_words_are_told_apart_by_their_length():
    # 1 and 2 are words of their own though neighbours, 4 is half of a word.
    word_ids = tf.constant([[0, 1, 2, 3, 3, 0], [0, 1, 1, 2, 3, 3]])
    marks = eval_metrics.mark_groups(MASKED, word_ids)
    expected = {eval_metrics.IN_WORD: [[0, 0, 1], [1, 0, 0]]}
    assert {name: value.numpy().tolist() for name, value in marks.items()} == expected


@pytest.mark.parametrize(
    ("mark", "names"),
    [
        (eval_metrics.IN_WORD, ("whole_words", "single_tokens")),
        (eval_metrics.BESIDE_MASKED, ("beside_masked", "alone")),
    ],
)
def test_metrics_of_a_batch_computed_by_hand(mark, names):
    features = {
        mark: tf.constant([[1, 1, 0], [0, 0, 0]]),
        schema.MASKED_LM_WEIGHTS: WEIGHTS,
        schema.MASKED_LM_IDS: tf.constant([[0, 1, 1], [1, 0, 1]]),
        schema.INPUT_MASK: tf.constant([[1, 1], [1, 1]]),
        schema.NEXT_SENTENCE_LABELS: tf.constant([[1], [1]]),
    }
    predicted = tf.constant([[0, 0, 1], [1, 1, 1]])
    outputs = {pretraining_model.MLM_LOGITS: tf.one_hot(predicted, 2)}
    sums = eval_metrics.compute_sums(outputs, features)
    np.testing.assert_array_equal(sums, [1, 2, 2, 3, 2])
    metrics = {"masked_lm_loss": math.log(50), "sentence_order_accuracy": 0.5}
    # With two more records of label 0, the majority class has half of them.
    assert eval_metrics.summarize(sums, metrics, 4, features) == pytest.approx(
        {
            "perplexity": 50.0,
            f"masked_lm_accuracy_{names[0]}": 1 / 2,
            f"masked_lm_accuracy_{names[1]}": 2 / 3,
            "sentence_order_majority": 0.5,
        }
    )
    sums = [0, 0, 2, 3, 1]
    metrics = {"masked_lm_loss": 1e6}
    found = eval_metrics.summarize(sums, metrics, 4, features)
    assert set(found) == {"perplexity", f"masked_lm_accuracy_{names[1]}"}


def test_padding_record_has_no_label():
    features = {
        eval_metrics.IN_WORD: tf.zeros((2, 1), tf.int32),
        schema.MASKED_LM_WEIGHTS: tf.constant([[1.0], [0.0]]),
        schema.MASKED_LM_IDS: tf.constant([[0], [0]]),
        schema.INPUT_MASK: tf.constant([[1], [0]]),
        schema.NEXT_SENTENCE_LABELS: tf.constant([[0], [1]]),
    }
    outputs = {pretraining_model.MLM_LOGITS: tf.zeros((2, 1, 2))}
    sums = eval_metrics.compute_sums(outputs, features)
    np.testing.assert_array_equal(sums, [0, 0, 1, 1, 0])


def test_table_shows_text_masked_tokens_and_predictions():
    tokens = (*vocab.REQUIRED_TOKENS, *"语言模型。", "pro", "##ba", "|")
    vocabulary = vocab.Vocabulary(tokens, "test", b"")
    ids = {token: number for number, token in enumerate(tokens)}
    seen = "[CLS] 语 [MASK] 模 pro ##ba | [SEP]".split()
    batch = {
        schema.INPUT_IDS: np.array([[ids[token] for token in seen] + [0]] * 12),
        schema.INPUT_MASK: np.array([[1] * 8 + [0]] * 12),
        schema.MASKED_LM_POSITIONS: np.array([[2, 3, 0]] * 12),
        schema.MASKED_LM_IDS: np.array([[ids["言"], ids["型"], 0]] * 12),
        schema.MASKED_LM_WEIGHTS: np.array([[1.0, 1.0, 0.0]] * 12),
    }
    predicted = np.array([[ids["言"], ids["##ba"], 0]] * 12)
    lines = eval_metrics.write_table(batch, predicted, vocabulary).splitlines()
    assert len(lines) == 2 + 10
    assert lines[2] == (r"| 1 | \[CLS\]语\[言 ✓\]\[型 ✗ \#\#ba\]proba\|\[SEP\] | 1/2 |")
    batch[schema.INPUT_MASK][3:] = 0  # The batch is filled up.
    assert len(eval_metrics.write_table(batch, predicted, vocabulary).splitlines()) == 5

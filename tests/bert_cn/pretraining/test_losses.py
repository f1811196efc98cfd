import math

import numpy as np
import pytest
import tensorflow as tf

from bert_cn.model import pretraining_model
from bert_cn.pretraining import losses
from data_prep.records import schema

# Two records, two masked positions each, a vocabulary of two. Logits of log(3) against
# 0 give probabilities 3/4 and 1/4.
LOG3 = math.log(3)
OUTPUTS = {
    pretraining_model.MLM_LOGITS: tf.constant(
        [[[LOG3, 0.0], [0.0, LOG3]], [[LOG3, 0.0], [LOG3, 0.0]]], tf.float32
    ),
    pretraining_model.NSP_LOGITS: tf.constant([[LOG3, 0.0], [LOG3, 0.0]], tf.float32),
}
FEATURES = {
    schema.INPUT_MASK: tf.constant([[1, 1], [1, 0]]),
    schema.MASKED_LM_IDS: tf.constant([[0, 1], [1, 0]]),
    schema.MASKED_LM_WEIGHTS: tf.constant([[1.0, 1.0], [1.0, 0.0]]),
    schema.NEXT_SENTENCE_LABELS: tf.constant([[0], [1]]),
}


def test_metrics_of_a_batch_computed_by_hand():
    metrics = losses.summarize(losses.compute_sums(OUTPUTS, FEATURES).numpy())
    # Right, right, wrong; the fourth has weight 0.
    mlm_loss = (2 * math.log(4 / 3) + math.log(4)) / 3
    nsp_loss = (math.log(4 / 3) + math.log(4)) / 2
    assert metrics == pytest.approx(
        {
            "loss": mlm_loss + nsp_loss,
            "masked_lm_loss": mlm_loss,
            "masked_lm_accuracy": 2 / 3,
            "next_sentence_loss": nsp_loss,
            "next_sentence_accuracy": 0.5,
        },
        rel=1e-5,
    )


def test_padding_record_is_not_counted():
    features = {**FEATURES, schema.INPUT_MASK: tf.constant([[1, 1], [0, 0]])}
    features[schema.MASKED_LM_WEIGHTS] = tf.constant([[1.0, 1.0], [0.0, 0.0]])
    metrics = losses.summarize(losses.compute_sums(OUTPUTS, features).numpy())
    assert metrics["next_sentence_accuracy"] == 1.0
    assert metrics["masked_lm_loss"] == pytest.approx(math.log(4 / 3), rel=1e-4)


def test_shares_of_the_loss_add_up_to_the_loss_of_the_whole_batch():
    metrics = losses.summarize(losses.compute_sums(OUTPUTS, FEATURES).numpy())
    counts = losses.count_labels(FEATURES)
    np.testing.assert_array_equal(counts, [3.0, 2.0, 3.0])
    shares = []
    for row in range(2):
        outputs = {name: value[row : row + 1] for name, value in OUTPUTS.items()}
        features = {name: value[row : row + 1] for name, value in FEATURES.items()}
        sums = losses.compute_sums(outputs, features)
        shares.append(float(losses.compute_loss(sums, counts)))
    assert sum(shares) == pytest.approx(metrics["loss"], rel=1e-6)

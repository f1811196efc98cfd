"""Losses and metrics of pretraining, as sums that may be added over replicas and steps.

Every metric is kept as a numerator and a denominator, so that replicas with different
numbers of masked tokens, and steps of different weight, average correctly.
"""

import tensorflow as tf

from bert_cn.model import pretraining_model
from bert_cn.pretraining import relations
from data_prep.records import schema

MASKED_LM_LOSS = "masked_lm_loss"
MASKED_LM_ACCURACY = "masked_lm_accuracy"
# The share of the most frequent token: the accuracy of who always answers it.
MASKED_LM_MAJORITY = "masked_lm_majority"
NEXT_SENTENCE_LOSS = "next_sentence_loss"
NEXT_SENTENCE_ACCURACY = "next_sentence_accuracy"
LOSS = "loss"
TEACHER_RELATION_LOSS = "teacher_relation_loss"
# Prefixes of the second loss's metrics: the first is Google's, the second for SOP.
_SENTENCE = "next_sentence"
_SENTENCE_ORDER = "sentence_order"
SENTENCE_ACCURACIES = (NEXT_SENTENCE_ACCURACY, f"{_SENTENCE_ORDER}_accuracy")
# What the step line calls them.
_SENTENCE_TASKS = dict(zip(SENTENCE_ACCURACIES, ("nsp", "sop"), strict=True))
# The panels of loss_curve.png: `training.reporting`.
PANELS = ((LOSS,), (MASKED_LM_ACCURACY,), SENTENCE_ACCURACIES, ("learning_rate",))


def describe_metrics(metrics: dict[str, float]) -> list[str]:
    """Return what the step line says of a run's metrics, in parts."""
    mlm = f"mlm {100 * metrics[MASKED_LM_ACCURACY]:.1f}%"
    if MASKED_LM_MAJORITY in metrics:
        mlm += f" (unigram {100 * metrics[MASKED_LM_MAJORITY]:.1f})"
    sentences = [
        f"{task} {100 * metrics[name]:.0f}%"
        for name, task in _SENTENCE_TASKS.items()
        if name in metrics
    ]
    loss = [f"loss {metrics[LOSS]:.2f}"] if LOSS in metrics else []
    return [*loss, mlm, *sentences]


# Order of the entries of the vector that `compute_sums` returns.
_SUMS = (
    "masked_lm_loss_sum",
    "masked_lm_correct",
    "masked_lm_count",
    "next_sentence_loss_sum",
    "next_sentence_correct",
    "next_sentence_count",
    "masked_lm_objective_sum",
    "teacher_relation_loss_sum",
    "token_count",
)
NUM_SUMS = len(_SUMS)
MLM_LOSS_SUM, NSP_LOSS_SUM, OBJECTIVE_SUM, RELATION_LOSS_SUM = 0, 3, 6, 7
NSP_COUNT = _SUMS.index("next_sentence_count")

# google-research/bert's run_pretraining.py adds this to the number of masked tokens, so
# that a batch without any divides by something.
_COUNT_EPSILON = 1e-5


def compute_sums(
    outputs: dict, features: dict, masked_lm_sums=None, relation_loss_sum=0.0
) -> tf.Tensor:
    """Return loss sums, correct predictions and counts of one batch.

    A record whose input_mask starts with 0 fills up a last batch and is not counted:
    every real sequence starts with [CLS].

    Args:
        outputs: of the model, see `pretraining_model.build_pretraining_model`.
        features: int32 and float32 tensors by their names in `schema`.
        masked_lm_sums: the result of `MaskedLmHead.sum_losses`; None to compute it
            from the logits.
        relation_loss_sum: of `relations.sum_relation_losses`, 0 without a teacher.

    Returns:
        float32 [NUM_SUMS].
    """
    mlm_weights = tf.cast(features[schema.MASKED_LM_WEIGHTS], tf.float32)
    if masked_lm_sums is None:
        mlm = _weighted_sums(
            outputs[pretraining_model.MLM_LOGITS],
            features[schema.MASKED_LM_IDS],
            mlm_weights,
        )
        objective = mlm[0]
    else:
        mlm = (
            masked_lm_sums.loss,
            masked_lm_sums.correct,
            tf.reduce_sum(mlm_weights),
        )
        objective = masked_lm_sums.objective
    nsp = _weighted_sums(
        tf.reshape(outputs[pretraining_model.NSP_LOGITS], (-1, 2)),
        tf.reshape(features[schema.NEXT_SENTENCE_LABELS], [-1]),
        tf.reshape(weigh_sentences(features), [-1]),
    )
    tokens = relations.count_tokens(features)
    return tf.stack([*mlm, *nsp, objective, relation_loss_sum, tokens])


def weigh_sentences(features: dict) -> tf.Tensor:
    """Return 1 for each next_sentence_label that there is, else 0.

    Args:
        features: a batch; a record that fills it up has no label, nor have the places
            of sequences that a row does not hold.

    Returns:
        float32 [batch, 1], or [batch, parts] for rows of several sequences.
    """
    if schema.NEXT_SENTENCE_WEIGHTS in features:
        return tf.cast(features[schema.NEXT_SENTENCE_WEIGHTS], tf.float32)
    return tf.cast(features[schema.INPUT_MASK][:, :1], tf.float32)


def _weighted_sums(logits, labels, weights):
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    correct = tf.cast(tf.argmax(logits, -1, labels.dtype) == labels, tf.float32)
    return (
        tf.reduce_sum(losses * weights),
        tf.reduce_sum(correct * weights),
        tf.reduce_sum(weights),
    )


def count_labels(features: dict) -> tf.Tensor:
    """Return how many masked tokens, sequences and tokens a batch has, float32 [3].

    They are known before the forward pass, so that the sums of a micro-batch can be
    divided by the counts of the whole batch.
    """
    return tf.stack(
        [
            tf.reduce_sum(tf.cast(features[schema.MASKED_LM_WEIGHTS], tf.float32)),
            tf.reduce_sum(weigh_sentences(features)),
            relations.count_tokens(features),
        ]
    )


def compute_loss(
    sums: tf.Tensor,
    counts: tf.Tensor,
    use_sentence_loss: bool = True,
    sentence_weight: float = 1.0,
    relation_weight: float = 0.0,
) -> tf.Tensor:
    """Return a share of the loss; the shares add up to the loss of the batch.

    Args:
        sums: float32 [NUM_SUMS] of one replica, or of one of its micro-batches.
        counts: `count_labels` of the whole batch, over all replicas.
        use_sentence_loss: false for the masked-LM loss alone (RoBERTa).
        sentence_weight: factor of the sentence loss.
        relation_weight: factor of the loss of a teacher's relations.
    """
    loss = sums[OBJECTIVE_SUM] / (counts[0] + _COUNT_EPSILON)
    if use_sentence_loss:
        loss += sentence_weight * sums[NSP_LOSS_SUM] / tf.maximum(counts[1], 1.0)
    if relation_weight:
        loss += relation_weight * sums[RELATION_LOSS_SUM] / tf.maximum(counts[2], 1.0)
    return loss


def summarize(
    sums,
    use_sentence_loss: bool = True,
    sentence_weight: float = 1.0,
    relation_weight: float = 0.0,
) -> dict[str, float]:
    """Turn accumulated sums [NUM_SUMS] into metrics under Google's names.

    `loss` is the masked-LM objective plus `sentence_weight` times the next-sentence
    loss, both averages over everything that was added up. Without a sentence loss there
    are no next-sentence metrics, and `loss` is the objective. That is the masked-LM
    loss, or with a teacher a mixture, see `fused_ops.Ops.sum_masked_lm`. The loss of a
    teacher's relations is shown and added with its weight, if it has one.
    """
    values = dict(zip(_SUMS, (float(value) for value in sums), strict=True))
    masked = values["masked_lm_count"] + _COUNT_EPSILON
    pairs = max(values["next_sentence_count"], 1.0)
    objective = values["masked_lm_objective_sum"] / masked
    nsp_loss = values["next_sentence_loss_sum"] / pairs
    metrics = {
        LOSS: objective,
        MASKED_LM_LOSS: values["masked_lm_loss_sum"] / masked,
        MASKED_LM_ACCURACY: values["masked_lm_correct"] / masked,
    }
    if use_sentence_loss:
        metrics[LOSS] = objective + sentence_weight * nsp_loss
        metrics[NEXT_SENTENCE_LOSS] = nsp_loss
        metrics[NEXT_SENTENCE_ACCURACY] = values["next_sentence_correct"] / pairs
    if relation_weight:
        tokens = max(values["token_count"], 1.0)
        relation_loss = values["teacher_relation_loss_sum"] / tokens
        metrics[LOSS] += relation_weight * relation_loss
        metrics[TEACHER_RELATION_LOSS] = relation_loss
    return metrics


def name_after_task(metrics: dict[str, float], sentence_task: str) -> dict[str, float]:
    """Return metrics whose names say sentence_order if the records have that task.

    Args:
        metrics: from `summarize`.
        sentence_task: of the manifest, see `data_prep.records.manifest.Manifest`.
    """
    if sentence_task != "sop":
        return metrics
    return {
        name.replace(_SENTENCE, _SENTENCE_ORDER): value
        for name, value in metrics.items()
    }

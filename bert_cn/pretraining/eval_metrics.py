"""Metrics of an evaluation besides Google's, which show early whether a run works.

Only evaluations compute them, so that a training step takes no longer.
"""

import math
import re

import numpy as np
import tensorflow as tf

from bert_cn.model import pretraining_model
from bert_cn.pretraining import losses
from data_prep import web_page
from data_prep.records import schema
from data_prep.text import vocab as vocab_lib

# Features of an evaluation batch, int32 [batch, predictions]. The first is 1 if the
# masked token belongs to a word of several tokens; only records that are masked while
# training have words.
IN_WORD = "masked_in_word"
# The second stands in for it if records are stored masked: 1 if a token beside it is
# masked too. Two neighbouring words of one token count like one word of two tokens.
BESIDE_MASKED = "masked_beside_masked"

PERPLEXITY = "perplexity"
NUM_SAMPLES = 10

# Order of the entries of the vector that `compute_sums` returns.
_SUMS = ("group_correct", "group_count", "lone_correct", "lone_count", "label_1_count")
NUM_SUMS = len(_SUMS)
_GROUP_NAMES = {
    IN_WORD: ("whole_words", "single_tokens"),
    BESIDE_MASKED: ("beside_masked", "alone"),
}
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>()#+\-.!|~])")


def mark_groups(
    masked: dict[str, tf.Tensor], word_ids: tf.Tensor | None
) -> dict[str, tf.Tensor]:
    """Return `IN_WORD` if words are known, else `BESIDE_MASKED`.

    Args:
        masked: a batch of `schema.FEATURES`.
        word_ids: int32 [batch, length], see `schema.WORD_IDS`; None if unknown.
    """
    positions = masked[schema.MASKED_LM_POSITIONS]
    in_use = masked[schema.MASKED_LM_WEIGHTS] > 0
    if word_ids is not None:
        words = tf.gather(word_ids, positions, batch_dims=1)
        same = words[:, :, None] == word_ids[:, None, :]
        sizes = tf.reduce_sum(tf.cast(same, tf.int32), axis=2)
        return {IN_WORD: tf.cast((sizes > 1) & in_use, tf.int32)}
    beside = tf.abs(positions[:, :, None] - positions[:, None, :]) == 1
    both = in_use[:, :, None] & in_use[:, None, :]
    return {BESIDE_MASKED: tf.cast(tf.reduce_any(beside & both, axis=2), tf.int32)}


def compute_sums(outputs: dict, features: dict) -> tf.Tensor:
    """Return right predictions and counts of one batch, float32 [NUM_SUMS].

    Args:
        outputs: of the model, see `pretraining_model.build_pretraining_model`.
        features: of an evaluation batch.
    """
    grouped = features[IN_WORD if IN_WORD in features else BESIDE_MASKED]
    weights = tf.cast(features[schema.MASKED_LM_WEIGHTS], tf.float32)
    labels = features[schema.MASKED_LM_IDS]
    predicted = tf.argmax(outputs[pretraining_model.MLM_LOGITS], -1, labels.dtype)
    correct = tf.cast(predicted == labels, tf.float32)
    in_group = weights * tf.cast(grouped, tf.float32)
    alone = weights - in_group
    label_1 = tf.cast(features[schema.NEXT_SENTENCE_LABELS], tf.float32)
    return tf.stack(
        [
            tf.reduce_sum(correct * in_group),
            tf.reduce_sum(in_group),
            tf.reduce_sum(correct * alone),
            tf.reduce_sum(alone),
            tf.reduce_sum(label_1 * losses.weigh_sentences(features)),
        ]
    )


def summarize(
    sums, metrics: dict[str, float], num_sequences: int, features: dict
) -> dict[str, float]:
    """Return metrics to add to those of `losses.summarize`.

    Args:
        sums: [NUM_SUMS], added up over an evaluation.
        metrics: those of the losses.
        num_sequences: sequences that were evaluated; a record may hold several.
        features: of any batch; the feature that `mark_groups` added names the metrics.

    Returns:
        `perplexity`: e to the power of the masked-LM loss. `masked_lm_accuracy_*`: the
        accuracy in each of the two groups that has a token. `*_majority`: the share of
        the majority class of the sentence labels, which is the accuracy of a model that
        always gives the same answer.
    """
    values = dict(zip(_SUMS, (float(value) for value in sums), strict=True))
    added = {PERPLEXITY: math.exp(min(metrics[losses.MASKED_LM_LOSS], 700.0))}
    names = _GROUP_NAMES[IN_WORD if IN_WORD in features else BESIDE_MASKED]
    for kind, name in zip(("group", "lone"), names, strict=True):
        if count := values[f"{kind}_count"]:
            accuracy = values[f"{kind}_correct"] / count
            added[f"{losses.MASKED_LM_ACCURACY}_{name}"] = accuracy
    share = values["label_1_count"] / max(num_sequences, 1)
    for accuracy in losses.SENTENCE_ACCURACIES:
        if accuracy in metrics:
            name = accuracy.replace("accuracy", "majority")
            added[name] = max(share, 1 - share)
    return added


def write_table(
    batch: dict[str, np.ndarray],
    predicted: np.ndarray,
    vocabulary: vocab_lib.Vocabulary,
) -> str:
    """Show the first records of a batch, with the predictions in their places.

    Args:
        batch: `schema.FEATURES`, as the model sees them.
        predicted: int [batch, predictions], likeliest tokens.
        vocabulary: of the records.

    Returns:
        A Markdown table of at most `NUM_SAMPLES` rows. A token that was to be predicted
        stands as [token ✓] where it was, else as [token ✗ prediction].
    """
    tokens = np.array(vocabulary.tokens, dtype=object)
    lines = ["| | text | right |", "|--:|---|--:|"]
    for row in range(min(NUM_SAMPLES, len(predicted))):
        length = int(batch[schema.INPUT_MASK][row].sum())
        if not length:
            break  # All further records fill the batch up.
        used = batch[schema.MASKED_LM_WEIGHTS][row] > 0
        places = batch[schema.MASKED_LM_POSITIONS][row][used].tolist()
        true = tokens[batch[schema.MASKED_LM_IDS][row][used]]
        said = tokens[predicted[row][used]]
        marks = {
            place: f"{right} {web_page.GOOD}"
            if right == answer
            else f"{right} {web_page.BAD} {answer}"
            for place, right, answer in zip(places, true, said, strict=True)
        }
        text = _join(tokens[batch[schema.INPUT_IDS][row][:length]], marks)
        right = f"{int((true == said).sum())}/{len(true)}"
        lines.append(f"| {row + 1} | {text} | {right} |")
    return "\n".join(lines)


def _join(tokens, marks: dict[int, str]) -> str:
    pieces = []
    for position, token in enumerate(tokens):
        if position in marks:
            pieces.append(f"[{marks[position]}]")
            continue
        goes_on = token.startswith(vocab_lib.CONTINUATION_PREFIX) and len(token) > 2
        text = token[2:] if goes_on else token
        latin = text[0].isascii() and text[0].isalnum()
        if latin and not goes_on and position and tokens[position - 1][-1].isascii():
            pieces.append(" ")
        pieces.append(text)
    return _escape("".join(pieces))


def _escape(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", text)

"""What `plateau` measures in a model while it is trained.

Letters in shapes: b batch, l length, p predictions, h heads, k size of a head.
"""

import re

import numpy as np
import tensorflow as tf

from bert_cn.model import pretraining_model
from bert_cn.pretraining import input_pipeline, record_files, train_step
from data_prep.records import schema
from data_prep.text import vocab as vocab_lib

# The records of the batch that is looked at, and of one forward pass.
_RECORDS, _CHUNK = 256, 32
# What a masked position shows, in the order of their numbers; _UNUSED is no position.
KINDS = ("mask", "kept", "random")
_MASK, _KEPT, _RANDOM, _UNUSED = range(4)
_REACH = 2  # Neighbors on each side.
_NUM_ANSWERS = 5  # That are listed.
_MASKED_SCORE = -1e9
_LAYER = re.compile(r"transformer_layer_(\d+)/(\w+)")


def read_batch(files: record_files.RecordFiles) -> dict[str, np.ndarray]:
    """Return the first held-out records, masked, as numpy arrays of their features.

    Raises:
        ValueError: there are too few.
    """
    batch = next(iter(input_pipeline.build_eval_dataset(files, _RECORDS)))
    batch = {name: batch[name].numpy() for name in schema.FEATURES}
    if not batch[schema.INPUT_MASK][-1].any():
        raise ValueError(
            f"--eval_input_file holds fewer than {_RECORDS} records: name more files."
        )
    return batch


class Probe:
    """Looks inside a model.

    Args:
        trainer: whose model is looked at.
        batch: from `read_batch`.
        vocabulary: of the records.
        counts: int [vocabulary], how often each token is to be predicted in training.

    Attributes:
        constants: what training does not change, such as the most frequent token.
    """

    def __init__(
        self,
        trainer: train_step.Trainer,
        batch: dict[str, np.ndarray],
        vocabulary: vocab_lib.Vocabulary,
        counts: np.ndarray,
    ):
        self._trainer, self._batch, self._vocabulary = trainer, batch, vocabulary
        self._frequent = int(counts.argmax())
        self._kinds = mark_kinds(batch, vocabulary.mask_id)
        is_near, is_far = mark_movable(batch, vocabulary)
        rng = np.random.default_rng(0)
        self._exchanged = {
            name: batch | {schema.INPUT_IDS: exchange(batch, chosen, rng)}
            for name, chosen in (("near", is_near), ("far", is_far))
        }
        self._keys = mark_keys(batch, vocabulary)
        self._look = tf.function(lambda *inputs: look(trainer.model, *inputs))
        self._compute_gradients = tf.function(trainer.compute_micro_batch)
        labels, is_mask = batch[schema.MASKED_LM_IDS], self._kinds == _MASK
        log_shares = np.log(np.maximum(counts, 0.5) / counts.sum())
        mask = batch[schema.INPUT_MASK]
        lengths = mask.sum(axis=1, keepdims=True)  # [b, 1]
        uniform = np.repeat((mask / lengths)[:, np.newaxis], mask.shape[1], axis=1)
        self.constants = {
            "most_frequent_token": vocabulary.tokens[self._frequent],
            "most_frequent_share_at_mask": _mean(labels[is_mask] == self._frequent),
            "unigram_loss_at_mask": _mean(-log_shares[labels[is_mask]]),
            "uniform_entropy": float(np.average(np.log(lengths), weights=lengths)),
            "uniform_attention_on": {
                name: _mean((uniform * marks).sum(axis=-1)[mark_masked(batch)])
                for name, marks in self._keys.items()
            },
            "positions": {
                kind: int((self._kinds == number).sum())
                for number, kind in enumerate(KINDS)
            },
            "exchanged_tokens": {"near": int(is_near.sum()), "far": int(is_far.sum())},
        }

    def measure(self) -> dict:
        """Return what the model does now; entropies and losses are in nats."""
        seen = self._look_at(self._batch)
        is_mask, is_masked = self._kinds == _MASK, mark_masked(self._batch)
        mask = self._batch[schema.INPUT_MASK] > 0
        loss = _mean(seen["loss"][is_mask])
        encoder = self._trainer.model.get_layer("bert")
        occurring = np.unique(self._batch[schema.INPUT_IDS])
        rows = encoder.token_embedding.embeddings.numpy()[occurring]
        return {
            "step": self._trainer.step,
            **self._describe_answers(seen["predicted"]),
            "loss_at_mask": loss,
            "loss_rise": {
                name: _mean(self._look_at(batch)["loss"][is_mask]) - loss
                for name, batch in self._exchanged.items()
            },
            "embedding_cosine": mean_cosine(rows),
            "output_cosine": mean_cosine(seen["output"][self._kinds != _UNUSED]),
            "output_cosine_at_mask": mean_cosine(seen["output"][is_mask]),
            # [layers][heads] each.
            "attention_entropy": _mean_per_head(seen["entropy"], mask),
            "attention_on": {
                name: _mean_per_head(seen[name], is_masked) for name in self._keys
            },
            "gradient_norms": self._measure_gradients(),
        }

    def _look_at(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return what `look` returns, for all records."""
        parts = []
        for begin in range(0, _RECORDS, _CHUNK):
            rows = slice(begin, begin + _CHUNK)
            chunk = {name: value[rows] for name, value in batch.items()}
            keys = {
                name: np.float32(marks if len(marks) == 1 else marks[rows])
                for name, marks in self._keys.items()
            }
            parts.append(self._look(chunk, keys))
        return {
            name: np.concatenate([part[name].numpy() for part in parts])
            for name in parts[0]
        }

    def _describe_answers(self, predicted: np.ndarray) -> dict:
        """Return shares of right and of frequent answers; `predicted` is [b, p]."""
        is_mask, is_used = self._kinds == _MASK, self._kinds != _UNUSED
        is_right = predicted == self._batch[schema.MASKED_LM_IDS]
        is_copied = predicted == show(self._batch)
        is_frequent = predicted == self._frequent
        tokens, counts = np.unique(predicted[is_mask], return_counts=True)
        listed = np.argsort(-counts)[:_NUM_ANSWERS]
        return {
            "accuracy": _mean(is_right[is_used]),
            "accuracy_by_kind": {
                kind: _mean(is_right[self._kinds == number])
                for number, kind in enumerate(KINDS)
            },
            "copied_random": _mean(is_copied[self._kinds == _RANDOM]),
            "frequent_share": _mean(is_frequent[is_used]),
            "frequent_share_at_mask": _mean(is_frequent[is_mask]),
            "answers_at_mask": {
                self._vocabulary.tokens[tokens[i]]: float(counts[i] / counts.sum())
                for i in listed
            },
            "num_answers_at_mask": len(tokens),
        }

    def _measure_gradients(self) -> dict[str, float]:
        """Return the global norm of each part's gradient, for the first records."""
        chunk = {name: tf.constant(v[:_CHUNK]) for name, v in self._batch.items()}
        gradients, _ = self._compute_gradients(chunk)
        squares: dict[str, float] = {}
        variables = self._trainer.model.trainable_variables
        for variable, gradient in zip(variables, gradients, strict=True):
            square = float(tf.reduce_sum(gradient * gradient))
            part = name_part(variable.path)
            squares[part] = squares.get(part, 0.0) + square
        return {part: square**0.5 for part, square in squares.items()}


def look(model, features: dict[str, tf.Tensor], keys: dict[str, tf.Tensor]):
    """Return what the model does with a batch, float32 but for `predicted`.

    Args:
        model: from `pretraining_model.build_pretraining_model`.
        features: `schema.FEATURES`.
        keys: from `mark_keys`.

    Returns:
        `loss` and `predicted` [b, p]; `output`, the encoder's at the masked positions,
        [b, p, hidden]; `entropy` of each query's attention, and its attention on each
        kind of key by the kind's name, [b, layers, h, l].
    """
    names = (*schema.SEQUENCE_FEATURES, schema.MASKED_LM_POSITIONS)
    outputs = pretraining_model.predict(model, {name: features[name] for name in names})
    logits = outputs[pretraining_model.MLM_LOGITS]
    output = tf.gather(
        outputs[pretraining_model.SEQUENCE_OUTPUT],
        features[schema.MASKED_LM_POSITIONS],
        batch_dims=1,
    )
    _, weights = compute_attention(model.get_layer("bert"), features)
    return {
        "loss": tf.nn.sparse_softmax_cross_entropy_with_logits(
            features[schema.MASKED_LM_IDS], logits
        ),
        "predicted": tf.argmax(logits, -1, tf.int32),
        "output": tf.cast(output, tf.float32),
        "entropy": -tf.reduce_sum(weights * tf.math.log(weights + 1e-20), axis=-1),
        **{
            name: tf.reduce_sum(weights * marks[:, tf.newaxis, tf.newaxis], axis=-1)
            for name, marks in keys.items()
        },
    }


def compute_attention(encoder, features: dict[str, tf.Tensor]):
    """Return the encoder's sequence output, and float32 [b, layers, h, l, l].

    Computed from the kernels of queries and keys, as in `bert_cn.model.attention`;
    between them the layers are KerasHub's own. The last axis is that of the keys.
    """
    mask = features[schema.INPUT_MASK]
    tokens = encoder.token_embedding(features[schema.INPUT_IDS])
    positions = encoder.position_embedding(tokens)
    segments = encoder.segment_embedding(features[schema.SEGMENT_IDS])
    x = encoder.embeddings_layer_norm(tokens + positions + segments)  # [b, l, d]
    is_padding = tf.cast(mask == 0, tf.float32)[:, tf.newaxis, tf.newaxis]
    weights = []
    for layer in encoder.transformer_layers:
        attention = layer._self_attention_layer
        query, key = (
            tf.einsum("bld,dhk->bhlk", tf.cast(x, tf.float32), dense.kernel._value)
            + dense.bias._value[:, tf.newaxis]
            for dense in (attention._query_dense, attention._key_dense)
        )
        scores = tf.matmul(query, key, transpose_b=True) / query.shape[-1] ** 0.5
        weights.append(tf.nn.softmax(scores + is_padding * _MASKED_SCORE))
        x = layer(x, padding_mask=mask)
    return x, tf.stack(weights, axis=1)


def mark_keys(
    batch: dict[str, np.ndarray], vocabulary: vocab_lib.Vocabulary
) -> dict[str, np.ndarray]:
    """Return kinds of keys that a query may look at, each bool [b or 1, l, l].

    `neighbors` are the four nearest tokens, `masks` other tokens that show [MASK], and
    `separators` [CLS] and [SEP].
    """
    ids = batch[schema.INPUT_IDS][:, np.newaxis]  # [b, 1, l]
    places = np.arange(ids.shape[-1])
    distances = np.abs(places[:, np.newaxis] - places)[np.newaxis]  # [1, l, l]
    ones = np.ones_like(distances, bool)
    return {
        "itself": distances == 0,
        "neighbors": (distances > 0) & (distances <= _REACH),
        "masks": (ids == vocabulary.mask_id) & (distances > 0),
        "separators": np.isin(ids, [vocabulary.cls_id, vocabulary.sep_id]) & ones,
    }


def show(batch: dict[str, np.ndarray]) -> np.ndarray:
    """Return the token ids that the masked positions show, [b, p]."""
    positions = batch[schema.MASKED_LM_POSITIONS]
    return np.take_along_axis(batch[schema.INPUT_IDS], positions, axis=1)


def mark_kinds(batch: dict[str, np.ndarray], mask_id: int) -> np.ndarray:
    """Return the number in `KINDS` of each masked position, or `_UNUSED`: [b, p]."""
    shown = show(batch)
    kinds = np.where(shown == batch[schema.MASKED_LM_IDS], _KEPT, _RANDOM)
    kinds = np.where(shown == mask_id, _MASK, kinds)
    return np.where(batch[schema.MASKED_LM_WEIGHTS] > 0, kinds, _UNUSED)


def mark_masked(batch: dict[str, np.ndarray]) -> np.ndarray:
    """Return whether each token is to be predicted, bool [b, l]."""
    is_masked = np.zeros(batch[schema.INPUT_IDS].shape, bool)
    rows, columns = np.nonzero(batch[schema.MASKED_LM_WEIGHTS] > 0)
    is_masked[rows, batch[schema.MASKED_LM_POSITIONS][rows, columns]] = True
    return is_masked


def mark_movable(
    batch: dict[str, np.ndarray], vocabulary: vocab_lib.Vocabulary
) -> tuple[np.ndarray, np.ndarray]:
    """Return which tokens are a masked token's neighbors, and which are not.

    Masked and special tokens are neither. Both are bool [b, l].
    """
    is_masked = mark_masked(batch)
    padded = np.pad(is_masked, ((0, 0), (_REACH, _REACH)))
    length = is_masked.shape[1]
    is_near = np.any([padded[:, i : i + length] for i in range(2 * _REACH + 1)], axis=0)
    special = [vocabulary.pad_id, vocabulary.cls_id, vocabulary.sep_id]
    may_move = ~is_masked & ~np.isin(batch[schema.INPUT_IDS], special)
    return may_move & is_near, may_move & ~is_near


def exchange(
    batch: dict[str, np.ndarray], chosen: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Return the token ids with the chosen ones in another order, over all records."""
    ids = batch[schema.INPUT_IDS].copy()
    ids[chosen] = rng.permutation(ids[chosen])
    return ids


def mean_cosine(rows: np.ndarray) -> float:
    """Return the mean cosine between two different rows of [n, width]."""
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    number, total = len(rows), rows.sum(axis=0)
    return float((total @ total - number) / (number * (number - 1)))


def name_part(path: str) -> str:
    """Return the part of the model that a variable's path belongs to."""
    match = _LAYER.match(path)
    if match is None:
        return "head" if "head" in path else "embeddings"
    layer, inside = f"layer {match[1]}", path[match.end() :]
    if not match[2].startswith("self_attention"):
        return f"{layer} feed-forward"
    if inside.startswith(("/query", "/key")):
        return f"{layer} query and key"
    return f"{layer} value and output"


def _mean_per_head(values: np.ndarray, is_query: np.ndarray) -> list[list[float]]:
    """Return [layers][heads] of [b, layers, h, l], over the queries, bool [b, l]."""
    return np.moveaxis(values, -1, 1)[is_query].mean(axis=0).tolist()


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values))

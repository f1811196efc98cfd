"""Sentence embeddings: one encoder takes the two texts of a pair one by one.

Reimers and Gurevych, 2019, "Sentence-BERT: Sentence Embeddings using Siamese
BERT-Networks" (https://arxiv.org/abs/1908.10084): an embedding is pooled from the
states of all tokens, [CLS] and [SEP] among them, and two are compared by their cosine.
"""

import dataclasses

import keras
import tensorflow as tf

from bert_cn.conversion import (
    format_names,
    formats,
    pretrained,
    sentence_modules,
    sentence_transformer,
)
from bert_cn.conversion.weight_map import Part
from bert_cn.finetuning import features as features_lib
from bert_cn.finetuning import heads, training, warm_start
from bert_cn.finetuning.sentences import gradient_cache, losses, objectives
from bert_cn.model import pretraining_model

# Prefixes of the sequences of an example: two texts, and one that means another thing.
FIRST, SECOND, NEGATIVE = "a_", "b_", "c_"
# After a prefix: the number of each text; equal texts have equal numbers.
NUMBER = "number"
SCORE, LABEL, HAS_NEGATIVE = "score", "label", "has_negative"
COSINE, EMBEDDING = "cosine", "embedding"
_INPUTS = features_lib.INPUTS


def choose_embedding(
    checkpoint: str, pooling: str | None, normalize: bool | None, changes: bool = False
) -> sentence_modules.Embedding:
    """Return how states become an embedding, and print it.

    Args:
        checkpoint: its folder may say it.
        pooling: one of `format_names.POOLINGS`; None to do as the folder says.
        normalize: whether embeddings have length 1; None to do as the folder says.
        changes: whether the encoder is trained or a projection is fitted, so that the
            folder's projection does not suit it any more.

    Raises:
        ValueError: the folder pools in a way that is unknown here.
    """
    known = format_names.POOLINGS
    found = sentence_modules.Embedding(known[0], False)
    if checkpoint and sentence_transformer.is_sentence_transformer(checkpoint):
        found = sentence_modules.read_embedding(checkpoint)
    pooling = pooling or found.pooling
    if pooling not in known:
        raise ValueError(
            f"{checkpoint!r} pools by {pooling}, which is not known here: choose "
            f"{', '.join(known)} by --pooling."
        )
    normalize = found.normalize if normalize is None else normalize
    projection = found.projection
    if projection is not None and (changes or pooling != found.pooling):
        print("The checkpoint's dense layer after pooling is left out.", flush=True)
        projection = None
    kept = "" if projection is None else f", a dense layer to {len(projection.bias)}"
    length = ", to length 1" if normalize else ""
    print(f"Embeddings: {pooling} over the tokens{kept}{length}.", flush=True)
    return sentence_modules.Embedding(pooling, normalize, projection)


def pool_states(states: tf.Tensor, padding_mask: tf.Tensor, pooling: str) -> tf.Tensor:
    """Make one embedding of each sequence.

    Args:
        states: float [batch, width, hidden].
        padding_mask: int32 [batch, width], 1 for tokens; at least one in each row.
        pooling: one of `format_names.POOLINGS`. `weighted_mean` weights the token at
            position i by i + 1 (Muennighoff, 2022, "SGPT",
            https://arxiv.org/abs/2202.08904, equation 2).

    Returns:
        float32 [batch, hidden].
    """
    states = tf.cast(states, tf.float32)
    if pooling == "cls":
        return states[:, 0]
    mask = tf.cast(padding_mask, tf.float32)[:, :, None]
    if pooling == "max":
        return tf.reduce_max(tf.where(mask > 0, states, losses.NEVER), axis=1)
    if pooling == "weighted_mean":
        mask *= tf.range(1.0, tf.cast(tf.shape(mask)[1], tf.float32) + 1)[:, None]
    return tf.reduce_sum(states * mask, axis=1) / tf.reduce_sum(mask, axis=1)


class SentenceEncoder:
    """An encoder with its pooling.

    Args:
        start: the encoder's weights.
        embedding: how states become an embedding.
        objective: what it is trained for; None to embed only.
        max_seq_length: the limit that the saved folder names.
    """

    def __init__(
        self,
        start: warm_start.StartingPoint,
        embedding: sentence_modules.Embedding,
        objective: objectives.Objective | None,
        max_seq_length: int,
    ):
        self._start = start
        self._embedding = embedding
        self._objective = objective
        self._max_seq_length = max_seq_length
        self._encoder = warm_start.build_encoder(start, uses_pooler=False)
        inputs = warm_start.encoder_inputs()
        states = self._encoder(inputs)[pretraining_model.SEQUENCE_OUTPUT]
        self._head = None
        outputs = [states]
        if objective and objective.name == objectives.SOFTMAX:
            compared = keras.Input((3 * start.config.hidden_size,), name="compared")
            self._head = heads.build_dense(
                objective.num_labels, start.config, "classifier"
            )
            outputs.append(self._head(compared))
            inputs = {**inputs, "compared": compared}
        # Holds all that is trained; encoder and head are called one by one.
        self.model = keras.Model(inputs, outputs, name="sentence_embedding")

    def build_learner(self) -> training.Learner:
        """Return what `training` needs."""
        return training.Learner(
            self.model,
            self._compute_losses,
            self._compute_outputs,
            unused=warm_start.pooler_paths(self._start),
            differentiate=(
                self._differentiate
                if self._objective and self._objective.mini_batch_size
                else None
            ),
        )

    def embed(
        self,
        batch,
        prefixes: tuple[str, ...],
        training: bool,
        pools_only: bool = False,
    ) -> list[tf.Tensor]:
        """Return the embeddings of some texts of a batch.

        Args:
            batch: with `token_ids`, `segment_ids` and `padding_mask` of each prefix,
                int32 [batch, width], all equally wide.
            prefixes: which texts.
            training: whether dropout is on.
            pools_only: leave out the projection and the length of 1.

        Returns:
            For each prefix float32 [batch, hidden], or as wide as the projection.
        """
        inputs = {
            name: tf.concat([batch[prefix + name] for prefix in prefixes], axis=0)
            for name in _INPUTS
        }
        pooling = self._embedding.pooling
        # Su et al., 2021 (https://arxiv.org/abs/2103.15316): the mean of two layers.
        uses_first = pooling == "first_last_mean"
        found = self._encoder(inputs, training=training, with_first_layer=uses_first)
        states = found[pretraining_model.SEQUENCE_OUTPUT]
        if uses_first:
            states = (states + found[pretraining_model.FIRST_LAYER_OUTPUT]) / 2
        embeddings = pool_states(states, inputs[features_lib.PADDING_MASK], pooling)
        if not pools_only:
            if projection := self._embedding.projection:
                embeddings = tf.matmul(embeddings, projection.kernel) + projection.bias
            if self._embedding.normalize:
                embeddings = losses.normalize(embeddings)
        return tf.split(embeddings, len(prefixes))

    def project(self, projection: pretrained.Projection) -> None:
        """Put a dense layer after the pooling, in place of an earlier one.

        Traces of `embed` that were made before do not have it.
        """
        self._embedding = dataclasses.replace(self._embedding, projection=projection)

    def _compute_losses(self, batch) -> tf.Tensor:
        embeddings = self.embed(batch, _list_prefixes(batch), training=True)
        return self._compare_widths(batch, embeddings)

    def _differentiate(self, batch, shares, variables):
        """Do as `training.Learner.differentiate`, in parts of the batch."""
        prefixes = _list_prefixes(batch)
        inputs = {p + name: batch[p + name] for p in prefixes for name in _INPUTS}

        def embed(part) -> tf.Tensor:
            return tf.stack(self.embed(part, prefixes, training=True), axis=1)

        def compute_loss(embeddings) -> tf.Tensor:
            each = self._compare_widths(batch, tf.unstack(embeddings, axis=1))
            return tf.reduce_sum(each * shares)

        return gradient_cache.differentiate(
            *(embed, compute_loss, inputs, self.model, variables),
            self._objective.mini_batch_size,
        )

    def _compare_widths(self, batch, embeddings) -> tf.Tensor:
        """Return the loss of each example, float32 [batch], of all widths."""
        # Kusupati et al., 2022, "Matryoshka Representation Learning"
        # (https://arxiv.org/abs/2205.13147), equation 1, all widths alike.
        widths = self._objective.matryoshka_dims or (embeddings[0].shape[1],)
        return tf.add_n(
            [
                self._compare(batch, *(each[:, :width] for each in embeddings))
                for width in widths
            ]
        )

    def _compare(self, batch, first, second, negative=None) -> tf.Tensor:
        """Return the loss of each example, float32 [batch]."""
        name = self._objective.name
        if name == objectives.COSINE:
            return tf.square(losses.cosine(first, second) - batch[SCORE])
        if name == objectives.SOFTMAX:
            compared = tf.concat([first, second, tf.abs(first - second)], axis=1)
            return tf.nn.sparse_softmax_cross_entropy_with_logits(
                batch[LABEL], self._head(compared)
            )
        if name in (objectives.COSENT, objectives.ANGLE):
            compare = losses.cosine if name == objectives.COSENT else losses.angle
            return self._order(batch, compare(first, second))
        return self._rank(batch, first, second, negative)

    def _order(self, batch, similarities: tf.Tensor) -> tf.Tensor:
        """Return the loss of the whole batch's order, the same for each example."""
        values = (similarities, batch[SCORE], batch[features_lib.WEIGHT])
        loss = losses.order(*map(_gather_replicas, values), self._objective.scale)
        return tf.fill(tf.shape(similarities), loss)

    def _rank(self, batch, first, second, negative) -> tf.Tensor:
        """Return the loss of finding the second text of each first text."""
        weights = batch[features_lib.WEIGHT]
        anchors, wanted = batch[FIRST + NUMBER], batch[SECOND + NUMBER]
        candidates, numbers, answered, counts = second, wanted, anchors, weights
        if negative is not None:
            candidates = tf.concat([second, negative], axis=0)
            numbers = tf.concat([wanted, batch[NEGATIVE + NUMBER]], axis=0)
            # A negative answers no anchor.
            answered = tf.concat([anchors, tf.fill(tf.shape(anchors), -1)], axis=0)
            counts = tf.concat([weights, weights * batch[HAS_NEGATIVE]], axis=0)
        own = _own_rows(tf.shape(first)[0], tf.shape(candidates)[0])
        candidates, numbers, answered, counts = (
            _gather_replicas(each) for each in (candidates, numbers, answered, counts)
        )
        # Equal texts mean the same, and so do two answers to one anchor.
        is_right = (
            (numbers == wanted[:, None])
            | (numbers == anchors[:, None])
            | (answered == anchors[:, None])
        )
        is_own = tf.range(tf.shape(candidates)[0]) == own[:, None]
        is_candidate = is_own | (~is_right & (counts > 0))
        return losses.rank(first, candidates, own, is_candidate, self._objective.scale)

    def _compute_outputs(self, batch) -> dict[str, tf.Tensor]:
        first, second = self.embed(batch, (FIRST, SECOND), training=False)
        return {COSINE: losses.cosine(first, second)}

    def save(self, folder: str) -> None:
        """Write the present model as a folder of sentence-transformers."""
        bert = self._start.bert
        # The pooler is not used; one that was read is written as it was.
        has_pooler = bert is not None and bert.has(Part.POOLER)
        formats.write_checkpoint(
            warm_start.read_back(self._encoder, self._start, has_pooler),
            format_names.SENTENCE_TRANSFORMERS,
            folder,
            overwrite=True,
            options=pretrained.WriteOptions(
                pooling=self._embedding.pooling,
                normalize=self._embedding.normalize,
                max_seq_length=self._max_seq_length,
                projection=self._embedding.projection,
            ),
        )


def _list_prefixes(batch) -> tuple[str, ...]:
    return (FIRST, SECOND, NEGATIVE) if HAS_NEGATIVE in batch else (FIRST, SECOND)


def _own_rows(examples: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
    """Return the rows of this replica's second texts among all candidates, int32."""
    replica = tf.distribute.get_replica_context().replica_id_in_sync_group
    return tf.range(examples) + tf.cast(replica, tf.int32) * candidates


def _gather_replicas(rows: tf.Tensor) -> tf.Tensor:
    """Join the rows of all replicas, in their order; gradients go back to each."""
    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync == 1:
        return rows
    return context.all_gather(rows, axis=0)

"""A class for each token: a dense layer on the encoder's states.

The head of transformers' BertForTokenClassification: dropout, then one dense layer
(Devlin et al., 2018, section 5.3, which has no conditional random field either).
"""

import keras
import tensorflow as tf

from bert_cn.finetuning import features as features_lib
from bert_cn.finetuning import heads, output_folder, training, warm_start
from bert_cn.finetuning.tagging import data
from bert_cn.model import pretraining_model

ARCHITECTURE = "BertForTokenClassification"
CLASS, LOSS, COUNT = "class", "loss", "count"
_HEAD = ("classifier.weight", "classifier.bias")


def read_labels(folder: str) -> tuple[str, ...] | None:
    """Return the classes of a token classifier; None if the folder holds none."""
    head = output_folder.read_head(folder, _HEAD, ARCHITECTURE)
    if head is None:
        return None
    return output_folder.read_class_names(folder, len(head[_HEAD[0]]))


def load_labels(checkpoint: str) -> tuple[str, ...]:
    """Return the classes of a token classifier.

    Raises:
        ValueError: the checkpoint is none.
    """
    labels = read_labels(checkpoint)
    if labels is None:
        raise output_folder.no_model_error(checkpoint, "fine-tuned token classifier")
    return labels


class Tagger:
    """An encoder with its head.

    Args:
        start: the encoder's weights; a fine-tuned folder with the same labels also
            gives its head.
        labels: names of the classes in the order of their ids.
    """

    def __init__(self, start: warm_start.StartingPoint, labels: tuple[str, ...]):
        self._start = start
        self._labels = labels
        self._encoder = warm_start.build_encoder(start, uses_pooler=False)
        config = start.config
        inputs = warm_start.encoder_inputs()
        states = self._encoder(inputs)[pretraining_model.SEQUENCE_OUTPUT]
        states = heads.Dropout(config.hidden_dropout_prob)(states)
        self._head = heads.build_dense(len(labels), config, "classifier")
        self.model = keras.Model(inputs, self._head(states), name="tagging")
        self._load_head()

    def _load_head(self) -> None:
        if self._start.bert is None or read_labels(self._start.source) != self._labels:
            return
        head = output_folder.read_head(self._start.source, _HEAD, ARCHITECTURE)
        heads.assign_dense(self._head, head)
        print("Its classifier predicts the same and is kept.", flush=True)

    def build_learner(self) -> training.Learner:
        """Return what `training` needs."""
        return training.Learner(
            self.model,
            self._compute_losses,
            self._compute_outputs,
            unused=warm_start.pooler_paths(self._start),
            token_outputs=frozenset({CLASS}),
        )

    def compute_logits(self, batch, training: bool) -> tf.Tensor:
        """Return float32 [batch, width, classes] of a batch's token ids."""
        inputs = {name: batch[name] for name in features_lib.INPUTS}
        return self.model(inputs, training=training)

    def _compute_losses(self, batch) -> tf.Tensor:
        losses, counts = self._sum_losses(self.compute_logits(batch, True), batch)
        weights = batch[features_lib.WEIGHT]
        # The mean over all words of the batch, as transformers takes it: `training`
        # takes the mean over examples, which undoes the first factor.
        replicas = tf.distribute.get_replica_context()
        examples, words = replicas.all_reduce(
            tf.distribute.ReduceOp.SUM,
            [tf.reduce_sum(weights), tf.reduce_sum(weights * counts)],
        )
        return losses * examples / tf.maximum(words, 1.0)

    def _compute_outputs(self, batch) -> dict[str, tf.Tensor]:
        logits = self.compute_logits(batch, False)
        losses, counts = self._sum_losses(logits, batch)
        classes = tf.argmax(logits, axis=2, output_type=tf.int32)
        return {CLASS: classes, LOSS: losses, COUNT: counts}

    def _sum_losses(self, logits: tf.Tensor, batch) -> tuple[tf.Tensor, tf.Tensor]:
        """Return for each example the sum of its words' losses, and their number."""
        tags = batch[data.TAG]
        counted = tf.cast(tags > 0, tf.float32)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
            tf.maximum(tags - 1, 0), logits
        )
        return tf.reduce_sum(losses * counted, axis=1), tf.reduce_sum(counted, axis=1)

    def save(self, folder: str) -> None:
        """Write the present model as a folder of transformers."""
        head = heads.read_dense(self._head)
        bert = warm_start.read_back(self._encoder, self._start, with_pooler=False)
        names = self._labels
        settings = {
            "id2label": {str(index): name for index, name in enumerate(names)},
            "label2id": {name: index for index, name in enumerate(names)},
        }
        output_folder.write_model(folder, bert, ARCHITECTURE, head, settings)

"""A class for each token: a dense layer on the encoder's states.

The head of transformers' BertForTokenClassification: dropout, then one dense layer
(Devlin et al., 2018, section 5.3, which has no conditional random field either).
"""

import tensorflow as tf

from bert_cn.finetuning import features as features_lib
from bert_cn.finetuning import headed_model, output_folder, warm_start
from bert_cn.finetuning.tagging import data

CLASS, LOSS, COUNT = "class", "loss", "count"


def read_labels(folder: str) -> tuple[str, ...] | None:
    """Return the classes of a token classifier; None if the folder holds none."""
    num_outputs = Tagger.count_outputs(folder)
    if num_outputs is None:
        return None
    return output_folder.read_class_names(folder, num_outputs)


def load_labels(checkpoint: str) -> tuple[str, ...]:
    """Return the classes of a token classifier.

    Raises:
        ValueError: the checkpoint is none.
    """
    labels = read_labels(checkpoint)
    if labels is None:
        raise output_folder.no_model_error(checkpoint, "fine-tuned token classifier")
    return labels


class Tagger(headed_model.HeadedModel):
    """An encoder with its head.

    Args:
        start: the encoder's weights; a fine-tuned folder with the same labels also
            gives its head.
        labels: names of the classes in the order of their ids.
    """

    architecture = "BertForTokenClassification"
    token_outputs = frozenset({CLASS})

    def __init__(self, start: warm_start.StartingPoint, labels: tuple[str, ...]):
        self._labels = labels
        keeps_head = start.bert is not None and read_labels(start.source) == labels
        super().__init__(start, len(labels), keeps_head)

    def compute_losses(self, batch) -> tf.Tensor:
        """Return float32 [batch], whose mean is the mean loss of the batch's words."""
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

    def compute_outputs(self, batch) -> dict[str, tf.Tensor]:
        """Return classes [batch, width], and losses and counts of words [batch]."""
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

    def settings(self) -> dict:
        """Return what config.json says of the head."""
        return output_folder.describe_classes(self._labels)

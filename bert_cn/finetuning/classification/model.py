"""Classification and regression of texts and pairs: a dense layer on the pooler.

The head of google-research/bert's run_classifier.py and of transformers'
BertForSequenceClassification: dropout, then one dense layer.
"""

import dataclasses

import keras
import tensorflow as tf

from bert_cn.finetuning import features as features_lib
from bert_cn.finetuning import heads, output_folder, training, warm_start
from bert_cn.model import pretraining_model

LABEL = "label"
LOGITS = "logits"
LOSS = "loss"
ARCHITECTURE = "BertForSequenceClassification"
_HEAD = ("classifier.weight", "classifier.bias")


@dataclasses.dataclass(frozen=True)
class Labels:
    """The classes that are predicted, or none for a score.

    Attributes:
        names: the classes in the order of their ids; empty for regression.
    """

    names: tuple[str, ...]

    @property
    def is_regression(self) -> bool:
        """Whether a score is predicted and not a class."""
        return not self.names

    @property
    def num_outputs(self) -> int:
        """Width of the logits."""
        return len(self.names) or 1

    def settings(self) -> dict:
        """Return the entries of transformers' config.json for them."""
        names = self.names or ("LABEL_0",)
        kind = "regression" if self.is_regression else "single_label_classification"
        return {
            "id2label": {str(index): name for index, name in enumerate(names)},
            "label2id": {name: index for index, name in enumerate(names)},
            "problem_type": kind,
        }


def read_labels(folder: str) -> Labels | None:
    """Return what a fine-tuned model predicts; None if the folder has no such head."""
    head = output_folder.read_head(folder, _HEAD, ARCHITECTURE)
    if head is None:
        return None
    num_outputs = len(head[_HEAD[0]])
    problem = output_folder.read_settings(folder).get("problem_type")
    if problem == "regression" or num_outputs == 1:
        return Labels(())
    return Labels(output_folder.read_class_names(folder, num_outputs))


class Classifier:
    """An encoder with its head.

    Args:
        start: the encoder's weights; a fine-tuned folder with the same labels also
            gives its head.
        labels: what is predicted.
    """

    def __init__(self, start: warm_start.StartingPoint, labels: Labels):
        self._start = start
        self._labels = labels
        self._encoder = warm_start.build_encoder(start)
        config = start.config
        inputs = warm_start.encoder_inputs()
        pooled = self._encoder(inputs)[pretraining_model.POOLED_OUTPUT]
        pooled = heads.Dropout(config.hidden_dropout_prob)(pooled)
        self._head = heads.build_dense(labels.num_outputs, config, "classifier")
        self.model = keras.Model(inputs, self._head(pooled), name="classification")
        self._load_head()

    def _load_head(self) -> None:
        folder = self._start.source
        if self._start.bert is None or read_labels(folder) != self._labels:
            return
        head = output_folder.read_head(folder, _HEAD, ARCHITECTURE)
        heads.assign_dense(self._head, head)
        print("Its classifier predicts the same and is kept.", flush=True)

    def build_learner(self) -> training.Learner:
        """Return what `training` needs."""
        return training.Learner(self.model, self._compute_losses, self._compute_outputs)

    def _compute_losses(self, batch) -> tf.Tensor:
        return self._losses(self._logits(batch, training=True), batch)

    def _compute_outputs(self, batch) -> dict[str, tf.Tensor]:
        logits = self._logits(batch, training=False)
        outputs = {LOGITS: logits}
        if LABEL in batch:
            outputs[LOSS] = self._losses(logits, batch)
        return outputs

    def _logits(self, batch, training: bool) -> tf.Tensor:
        inputs = {name: batch[name] for name in features_lib.INPUTS}
        return self.model(inputs, training=training)

    def _losses(self, logits: tf.Tensor, batch) -> tf.Tensor:
        labels = batch[LABEL]
        if self._labels.is_regression:
            return tf.square(logits[:, 0] - labels)
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)

    def save(self, folder: str) -> None:
        """Write the present model as a folder of transformers."""
        head = heads.read_dense(self._head)
        bert = warm_start.read_back(self._encoder, self._start)
        output_folder.write_model(
            folder, bert, ARCHITECTURE, head, self._labels.settings()
        )

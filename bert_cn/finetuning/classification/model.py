"""Classification and regression of texts and pairs: a dense layer on the pooler.

The head of google-research/bert's run_classifier.py and of transformers'
BertForSequenceClassification: dropout, then one dense layer.
"""

import dataclasses

import tensorflow as tf

from bert_cn.finetuning import headed_model, output_folder, warm_start

LABEL = "label"
LOGITS = "logits"
LOSS = "loss"


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
        return {**output_folder.describe_classes(names), "problem_type": kind}


def read_labels(folder: str) -> Labels | None:
    """Return what a fine-tuned model predicts; None if the folder has no such head."""
    num_outputs = Classifier.count_outputs(folder)
    if num_outputs is None:
        return None
    problem = output_folder.read_settings(folder).get("problem_type")
    if problem == "regression" or num_outputs == 1:
        return Labels(())
    return Labels(output_folder.read_class_names(folder, num_outputs))


class Classifier(headed_model.HeadedModel):
    """An encoder with its head.

    Args:
        start: the encoder's weights; a fine-tuned folder with the same labels also
            gives its head.
        labels: what is predicted.
    """

    architecture = "BertForSequenceClassification"
    uses_pooler = True

    def __init__(self, start: warm_start.StartingPoint, labels: Labels):
        self._labels = labels
        keeps_head = start.bert is not None and read_labels(start.source) == labels
        super().__init__(start, labels.num_outputs, keeps_head)

    def compute_losses(self, batch) -> tf.Tensor:
        """Return the squared errors or the cross entropies, float32 [batch]."""
        return self._losses(self.compute_logits(batch, training=True), batch)

    def compute_outputs(self, batch) -> dict[str, tf.Tensor]:
        """Return logits [batch, outputs], and losses [batch] if labels are known."""
        logits = self.compute_logits(batch, training=False)
        outputs = {LOGITS: logits}
        if LABEL in batch:
            outputs[LOSS] = self._losses(logits, batch)
        return outputs

    def _losses(self, logits: tf.Tensor, batch) -> tf.Tensor:
        labels = batch[LABEL]
        if self._labels.is_regression:
            return tf.square(logits[:, 0] - labels)
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)

    def settings(self) -> dict:
        """Return what config.json says of the head."""
        return self._labels.settings()

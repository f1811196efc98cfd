"""Answers as spans of a context: a dense layer on every token, start and end.

The head of google-research/bert's run_squad.py and of transformers'
BertForQuestionAnswering.
"""

import tensorflow as tf

from bert_cn.finetuning import features as features_lib
from bert_cn.finetuning import headed_model, output_folder, warm_start
from bert_cn.finetuning.reading import flags, windows

START_LOGITS = "start_logits"
END_LOGITS = "end_logits"
# Google's name; it is in config.json if the model knows questions without an answer.
_THRESHOLD = "null_score_diff_threshold"
# As in the encoder's attention: softmax makes a float32 0 of it.
_FAR_BELOW = -1e9


def has_reader(folder: str) -> bool:
    """Say whether a folder holds a model with the head of this module."""
    return Reader.count_outputs(folder) is not None


def read_threshold(folder: str) -> float | None:
    """Return the `null_diff` above which a fine-tuned model gives no answer, or None.

    Raises:
        ValueError: config.json is damaged.
    """
    value = output_folder.read_settings(folder).get(_THRESHOLD)
    return None if value is None else float(value)


def choose_threshold(args: flags.ReaderArgs, checkpoint: str) -> float | None:
    """Return the threshold to begin with, before any is found on dev.

    It is what the flags say, or else what a fine-tuned model has kept, or else 0.

    Args:
        args: say whether questions may have no answer.
        checkpoint: where training starts, or the fine-tuned model.

    Raises:
        ValueError: without training, the checkpoint has no head of this module.
    """
    kept = None
    if not args.do_train:
        if not has_reader(checkpoint):
            raise output_folder.no_model_error(
                checkpoint, "model fine-tuned for answers"
            )
        kept = read_threshold(checkpoint)
    if not args.version_2_with_negative:
        return None
    if args.null_score_diff_threshold is not None:
        return args.null_score_diff_threshold
    return 0.0 if kept is None else kept


class Reader(headed_model.HeadedModel):
    """An encoder with its head.

    Args:
        start: the encoder's weights; a fine-tuned folder also gives its head.

    Attributes:
        threshold: saved with the model; see `spans.Prediction.decide`.
    """

    architecture = "BertForQuestionAnswering"
    layer = "qa_outputs"
    has_dropout = False
    kept_head = "Its head finds answers and is kept."
    token_outputs = frozenset({START_LOGITS, END_LOGITS})

    def __init__(self, start: warm_start.StartingPoint):
        self.threshold: float | None = None
        keeps_head = start.bert is not None and has_reader(start.source)
        super().__init__(start, 2, keeps_head)

    def compute_losses(self, batch) -> tf.Tensor:
        """Return the mean cross entropy of start and end, float32 [batch]."""
        logits = self.compute_logits(batch, training=True)
        padding = 1 - tf.cast(batch[features_lib.PADDING_MASK], tf.float32)
        logits += _FAR_BELOW * padding[..., None]
        losses = [
            tf.nn.sparse_softmax_cross_entropy_with_logits(
                batch[position], logits[..., index]
            )
            for index, position in enumerate(
                (windows.START_POSITION, windows.END_POSITION)
            )
        ]
        return tf.add_n(losses) / 2

    def compute_outputs(self, batch) -> dict[str, tf.Tensor]:
        """Return the logits of start and end, float32 [batch, width]."""
        logits = self.compute_logits(batch, training=False)
        return {START_LOGITS: logits[..., 0], END_LOGITS: logits[..., 1]}

    def settings(self) -> dict:
        """Return what config.json says of the head."""
        return {} if self.threshold is None else {_THRESHOLD: self.threshold}

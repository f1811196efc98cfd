"""Answers as spans of a context: a dense layer on every token, start and end.

The head of google-research/bert's run_squad.py and of transformers'
BertForQuestionAnswering.
"""

import keras
import tensorflow as tf

from bert_cn.finetuning import features as features_lib
from bert_cn.finetuning import heads, output_folder, training, warm_start
from bert_cn.finetuning.reading import flags, windows
from bert_cn.model import pretraining_model

START_LOGITS = "start_logits"
END_LOGITS = "end_logits"
ARCHITECTURE = "BertForQuestionAnswering"
_HEAD = ("qa_outputs.weight", "qa_outputs.bias")
# Google's name; it is in config.json if the model knows questions without an answer.
_THRESHOLD = "null_score_diff_threshold"
# As in the encoder's attention: softmax makes a float32 0 of it.
_FAR_BELOW = -1e9


def has_reader(folder: str) -> bool:
    """Say whether a folder holds a model with the head of this module."""
    return output_folder.read_head(folder, _HEAD, ARCHITECTURE) is not None


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


class Reader:
    """An encoder with its head.

    Args:
        start: the encoder's weights; a fine-tuned folder also gives its head.

    Attributes:
        threshold: saved with the model; see `spans.Prediction.decide`.
    """

    def __init__(self, start: warm_start.StartingPoint):
        self.threshold: float | None = None
        self._start = start
        self._encoder = warm_start.build_encoder(start, uses_pooler=False)
        inputs = warm_start.encoder_inputs()
        self._head = heads.build_dense(2, start.config, "qa_outputs")
        tokens = self._encoder(inputs)[pretraining_model.SEQUENCE_OUTPUT]
        self.model = keras.Model(inputs, self._head(tokens), name="reading")
        self._load_head()

    def _load_head(self) -> None:
        start = self._start
        if start.bert is None or not has_reader(start.source):
            return
        head = output_folder.read_head(start.source, _HEAD, ARCHITECTURE)
        heads.assign_dense(self._head, head)
        print("Its head finds answers and is kept.", flush=True)

    def build_learner(self) -> training.Learner:
        """Return what `training` needs."""
        return training.Learner(
            self.model,
            self._compute_losses,
            self._compute_outputs,
            unused=warm_start.pooler_paths(self._start),
            token_outputs=frozenset({START_LOGITS, END_LOGITS}),
        )

    def _compute_losses(self, batch) -> tf.Tensor:
        logits = self._logits(batch, training=True)
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

    def _compute_outputs(self, batch) -> dict[str, tf.Tensor]:
        logits = self._logits(batch, training=False)
        return {START_LOGITS: logits[..., 0], END_LOGITS: logits[..., 1]}

    def _logits(self, batch, training: bool) -> tf.Tensor:
        inputs = {name: batch[name] for name in features_lib.INPUTS}
        return self.model(inputs, training=training)

    def save(self, folder: str) -> None:
        """Write the present model as a folder of transformers."""
        head = heads.read_dense(self._head)
        bert = warm_start.read_back(self._encoder, self._start, with_pooler=False)
        settings = {} if self.threshold is None else {_THRESHOLD: self.threshold}
        output_folder.write_model(folder, bert, ARCHITECTURE, head, settings)

"""Answers as spans of a context: a dense layer on every token, start and end.

The head of google-research/bert's run_squad.py and of transformers'
BertForQuestionAnswering.
"""

import keras
import tensorflow as tf

from bert_cn.finetuning import export, heads, training, warm_start
from bert_cn.finetuning import features as features_lib
from bert_cn.finetuning.reading import windows
from bert_cn.model import pretraining_model

START_LOGITS = "start_logits"
END_LOGITS = "end_logits"
ARCHITECTURE = "BertForQuestionAnswering"
_HEAD = ("qa_outputs.weight", "qa_outputs.bias")
# Google's name; in config.json of models that know questions without an answer.
_THRESHOLD = "null_score_diff_threshold"
_INPUTS = (
    features_lib.TOKEN_IDS,
    features_lib.SEGMENT_IDS,
    features_lib.PADDING_MASK,
)
# As in modeling's attention: a float32 that softmax makes 0.
_FAR_BELOW = -1e9


def has_reader(folder: str) -> bool:
    """Say whether a folder holds a model with the head of this module."""
    return export.read_head(folder, _HEAD, ARCHITECTURE) is not None


def read_threshold(folder: str) -> float | None:
    """Return above which `null_diff` a fine-tuned model gives no answer; None: never.

    Raises:
        ValueError: config.json is damaged.
    """
    value = export.read_settings(folder).get(_THRESHOLD)
    return None if value is None else float(value)


class Reader:
    """An encoder with its head.

    Args:
        start: where the encoder's weights come from; a fine-tuned folder gives its head
            too.

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
        head = export.read_head(start.source, _HEAD, ARCHITECTURE)
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
        inputs = {name: batch[name] for name in _INPUTS}
        return self.model(inputs, training=training)

    def save(self, folder: str) -> None:
        """Write the model as it is as a folder of transformers."""
        head = heads.read_dense(self._head)
        bert = warm_start.read_back(self._encoder, self._start, with_pooler=False)
        settings = {} if self.threshold is None else {_THRESHOLD: self.threshold}
        export.write_model(folder, bert, ARCHITECTURE, head, settings)

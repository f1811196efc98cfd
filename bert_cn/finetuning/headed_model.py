"""An encoder with a dense layer, as transformers has it; tasks inherit from it."""

import abc

import keras
import tensorflow as tf

from bert_cn.finetuning import features, heads, output_folder, training, warm_start
from bert_cn.model import pretraining_model


class HeadedModel(abc.ABC):
    """An encoder with its head, saved as a folder of transformers.

    Args:
        start: the encoder's weights.
        num_outputs: width of the logits.
        keeps_head: whether the head of `start`, a fine-tuned folder, is read, too.

    Attributes:
        model: token ids -> logits, float32 [batch, outputs] from the pooler or
            [batch, width, outputs] from the states of all tokens.
        architecture: transformers' class.
        layer: transformers' name of the dense layer.
        uses_pooler: whether the dense layer is on the pooler.
        has_dropout: whether there is dropout before the dense layer.
        kept_head: what is printed if the head is kept.
        token_outputs: see `training.Learner`.
    """

    architecture: str
    layer = "classifier"
    uses_pooler = False
    has_dropout = True
    kept_head = "Its classifier predicts the same and is kept."
    token_outputs: frozenset[str] = frozenset()

    def __init__(
        self, start: warm_start.StartingPoint, num_outputs: int, keeps_head: bool
    ):
        self._start = start
        self._encoder = warm_start.build_encoder(start, self.uses_pooler)
        inputs = warm_start.encoder_inputs()
        outputs = self._encoder(inputs)
        if self.uses_pooler:
            states = outputs[pretraining_model.POOLED_OUTPUT]
        else:
            states = outputs[pretraining_model.SEQUENCE_OUTPUT]
        if self.has_dropout:
            states = heads.Dropout(start.config.hidden_dropout_prob)(states)
        self._head = heads.build_dense(num_outputs, start.config, self.layer)
        self.model = keras.Model(inputs, self._head(states))
        if keeps_head:
            heads.assign_dense(self._head, self._read_head(start.source))
            print(self.kept_head, flush=True)

    @classmethod
    def count_outputs(cls, folder: str) -> int | None:
        """Return the width of the logits of a folder's head; None without such a head.

        Raises:
            ValueError: the folder's weights are damaged.
        """
        head = cls._read_head(folder)
        return None if head is None else len(head[f"{cls.layer}.bias"])

    @classmethod
    def _read_head(cls, folder: str):
        names = (f"{cls.layer}.weight", f"{cls.layer}.bias")
        return output_folder.read_head(folder, names, cls.architecture)

    def build_learner(self) -> training.Learner:
        """Return what `training` needs."""
        unused = frozenset()
        if not self.uses_pooler:
            unused = warm_start.pooler_paths(self._start)
        return training.Learner(
            self.model,
            self.compute_losses,
            self.compute_outputs,
            unused,
            self.token_outputs,
        )

    def compute_logits(self, batch: training.Arrays, training: bool) -> tf.Tensor:
        """Return the model's logits for a batch."""
        inputs = {name: batch[name] for name in features.INPUTS}
        return self.model(inputs, training=training)

    @abc.abstractmethod
    def compute_losses(self, batch: training.Arrays) -> tf.Tensor:
        """Return float32 [batch], see `training.Learner`."""

    @abc.abstractmethod
    def compute_outputs(self, batch: training.Arrays) -> training.Arrays:
        """Return name -> [batch, ...], see `training.Learner`."""

    @abc.abstractmethod
    def settings(self) -> dict:
        """Return what config.json says of the head."""

    def save(self, folder: str) -> None:
        """Write the present model as a folder of transformers."""
        head = heads.read_dense(self._head)
        bert = warm_start.read_back(self._encoder, self._start, self.uses_pooler)
        output_folder.write_model(
            folder, bert, self.architecture, head, self.settings()
        )

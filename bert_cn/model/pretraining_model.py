"""The pretraining model: the encoder with masked-LM and next-sentence heads.

Devlin et al., 2018, "BERT: Pre-training of Deep Bidirectional Transformers for Language
Understanding" (https://arxiv.org/abs/1810.04805).
"""

import typing

import keras
import numpy as np
import tensorflow as tf

from bert_cn.model import config as config_lib
from bert_cn.model import encoder as encoder_lib
from bert_cn.model import fused_ops
from data_prep.records import schema

# KerasHub's encoder draws its kernels from a truncated normal of this deviation.
_KERAS_HUB_INITIALIZER_RANGE = 0.02

# Masked tokens are predicted in multiples of this many, where shapes may vary.
_BLOCK = 64

SEQUENCE_OUTPUT = "sequence_output"
POOLED_OUTPUT = "pooled_output"
FIRST_LAYER_OUTPUT = "first_layer_output"
MLM_HIDDEN = "mlm_hidden"
MLM_LOGITS = "mlm_logits"
NSP_LOGITS = "nsp_logits"

# Inputs of the model, and those of rows that hold several sequences.
_INPUTS = (*schema.SEQUENCE_FEATURES, schema.MASKED_LM_POSITIONS)
_PART_INPUTS = (schema.PART_IDS, schema.POSITION_IDS, schema.CLS_POSITIONS)

MLM_HEAD = "masked_lm_head"
NSP_HEAD = "next_sentence_head"


def gelu_tanh(x):
    """GELU by the tanh approximation, as google-research/bert computes it."""
    return keras.activations.gelu(x, approximate=True)


def gelu_exact(x):
    """GELU by the error function, which transformers calls "gelu"."""
    return keras.activations.gelu(x, approximate=False)


ACTIVATIONS = {config_lib.GELU_TANH: gelu_tanh, config_lib.GELU_EXACT: gelu_exact}


class Teacher(typing.NamedTuple):
    """What another model makes of the same masked positions.

    Attributes:
        head: that model's `MaskedLmHead`.
        hidden: its output.
        share: of the loss that the teacher's predictions have, from 0 to 1.
    """

    head: "MaskedLmHead"
    hidden: tf.Tensor
    share: float


class MaskedLmHead(keras.layers.Layer):
    """Predicts the token at each masked position, and computes only those.

    The layer returns hidden states. Training calls `sum_losses` with them, which keeps
    no logits; evaluation calls `compute_logits`.

    The output matrix is the token embedding table (tied; Press and Wolf, 2016,
    https://arxiv.org/abs/1608.05859), and the logits are float32 whatever the compute
    dtype, because bfloat16 logits over 21,128 tokens spoil the loss.

    Args:
        config: sizes and activation.
        token_embedding: the encoder's, whose table is the output matrix.
        training_ops: `fused_ops.CPU` or `fused_ops.XLA`, for `sum_losses`.
        **kwargs: of `keras.layers.Layer`.
    """

    def __init__(
        self,
        config: config_lib.BertConfig,
        token_embedding: keras.layers.Embedding,
        training_ops: fused_ops.Ops = fused_ops.XLA,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self._training_ops = training_ops
        self.vocab_size = config.vocab_size
        self.token_embedding = token_embedding
        self._output_ids = None
        self.dense = keras.layers.Dense(
            config.hidden_size,
            activation=ACTIVATIONS[config.hidden_act],
            kernel_initializer=_initializer(config),
            dtype=self.dtype_policy,
            name="dense",
        )
        self.layer_norm = keras.layers.LayerNormalization(
            epsilon=config.layer_norm_eps,
            dtype=self.dtype_policy,
            name="layer_norm",
        )

    def build(self, sequence_output_shape, positions_shape):
        """Create the weights; shapes as `call` takes them."""
        gathered_shape = (*positions_shape, sequence_output_shape[-1])
        self.dense.build(gathered_shape)
        self.layer_norm.build(gathered_shape)
        self.bias = self.add_weight(
            name="output_bias",
            shape=(self.vocab_size,),
            initializer="zeros",
            autocast=False,  # Added to float32 logits.
        )

    def call(self, sequence_output, positions):
        """Return the hidden state of each masked position.

        Args:
            sequence_output: compute dtype [batch, length, hidden].
            positions: int32 [batch, predictions], indices into length.

        Returns:
            Compute dtype [batch, predictions, hidden].
        """
        # keras.ops.take_along_axis would compute int64 indices of every number.
        gathered = tf.gather(sequence_output, positions, axis=1, batch_dims=1)
        return self.layer_norm(self.dense(gathered))

    def compute_output_spec(self, sequence_output, positions):
        """Return the symbolic output; `call` wants tensors."""
        shape = (*positions.shape, sequence_output.shape[-1])
        return keras.KerasTensor(shape, self.compute_dtype)

    def compute_logits(self, hidden):
        """Return float32 logits [batch, predictions, vocabulary] for evaluation.

        Args:
            hidden: the layer's output.
        """
        table = keras.ops.cast(self.token_embedding.embeddings, hidden.dtype)
        table = keras.ops.transpose(table)  # [hidden, vocabulary]
        logits = keras.ops.matmul(hidden, table)  # [batch, predictions, vocabulary]
        return keras.ops.cast(logits, "float32") + self.bias

    def limit_training(self, output_ids: np.ndarray) -> None:
        """Let the softmax of training be over some tokens; evaluation's is over all.

        Args:
            output_ids: int [outputs], every token that training ever asks for. The
                biases of others should be low, see `initial_weights.exclude_outputs`.
        """
        self._output_ids = np.asarray(output_ids, np.int32)
        self._places = np.zeros(self.vocab_size, np.int32)
        self._places[self._output_ids] = np.arange(len(output_ids))

    def sum_losses(
        self,
        hidden: tf.Tensor,
        labels: tf.Tensor,
        weights: tf.Tensor,
        teacher: Teacher | None = None,
    ) -> fused_ops.MaskedLmSums:
        """Add up losses and right predictions for training, keeping no logits.

        Args:
            hidden: the layer's output.
            labels: int32 [batch, predictions], the true tokens.
            weights: float32 [batch, predictions], 0 where nothing is masked.
            teacher: whose predictions are learned, too.
        """
        tokens = [
            tf.reshape(hidden, (-1, hidden.shape[-1])),  # [tokens, hidden]
            tf.reshape(labels, [-1]),  # [tokens]
            tf.reshape(weights, [-1]),  # [tokens]
        ]
        if teacher is not None:
            tokens.append(tf.reshape(teacher.hidden, (-1, teacher.hidden.shape[-1])))
        if self._training_ops.has_dynamic_shapes:
            used = _list_used(tokens[2])
            tokens = [tf.gather(values, used) for values in tokens]
        hidden, labels, weights, *taught = tokens
        if self._output_ids is not None:
            labels = tf.gather(self._places, labels)
        table, bias = self._select_outputs(self._output_ids)
        soft_targets = None
        if teacher is not None:
            probabilities = teacher.head.predict(taught[0], self._output_ids)
            soft_targets = fused_ops.SoftTargets(probabilities, teacher.share)
        return self._training_ops.sum_masked_lm(
            hidden, tf.cast(table, hidden.dtype), bias, labels, weights, soft_targets
        )

    def predict(self, hidden: tf.Tensor, output_ids: np.ndarray | None) -> tf.Tensor:
        """Return the probabilities of some tokens, float32 [tokens, outputs].

        They have no gradient.

        Args:
            hidden: compute dtype [tokens, hidden], the layer's output.
            output_ids: int32 [outputs], the tokens that there are; None for all.
        """
        table, bias = self._select_outputs(output_ids)
        logits = tf.matmul(hidden, tf.cast(table, hidden.dtype), transpose_b=True)
        return tf.stop_gradient(tf.nn.softmax(tf.cast(logits, tf.float32) + bias))

    def _select_outputs(
        self, output_ids: np.ndarray | None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the rows [outputs, hidden] and biases [outputs] of some tokens."""
        table, bias = self.token_embedding.embeddings.value, self.bias.value
        if output_ids is None:
            return table, bias
        return tf.gather(table, output_ids), tf.gather(bias, output_ids)


def _list_used(weights: tf.Tensor) -> tf.Tensor:
    """Return the places of positive weights and, to fill up a block, of zeros.

    With few different sizes, what is compiled for a size is used again.

    Args:
        weights: float32 [tokens].
    """
    total = tf.shape(weights)[0]
    used = tf.math.count_nonzero(weights, dtype=tf.int32)
    size = tf.minimum(-(-used // _BLOCK) * _BLOCK, total)
    # Stable, so that the positive ones keep their order.
    return tf.argsort(weights, direction="DESCENDING", stable=True)[:size]


def _initializer(config: config_lib.BertConfig) -> keras.initializers.Initializer:
    return keras.initializers.TruncatedNormal(stddev=config.initializer_range)


def build_encoder(
    config: config_lib.BertConfig,
    recompute_layers: bool = False,
    training_ops: fused_ops.Ops = fused_ops.XLA,
    shift_positions: bool = False,
) -> encoder_lib.BertEncoder:
    """Build the encoder, inputs token_ids, segment_ids and padding_mask.

    The arguments are `BertEncoder`'s.
    """
    encoder = encoder_lib.BertEncoder(
        config, recompute_layers, training_ops, shift_positions, name="bert"
    )
    if config.initializer_range != _KERAS_HUB_INITIALIZER_RANGE:
        scale = config.initializer_range / _KERAS_HUB_INITIALIZER_RANGE
        for variable in encoder.trainable_variables:
            if variable.name in ("kernel", "embeddings"):
                variable.assign(variable * scale)
    return encoder


def build_pretraining_model(
    config: config_lib.BertConfig,
    recompute_layers: bool = False,
    training_ops: fused_ops.Ops = fused_ops.XLA,
    shift_positions: bool = False,
    takes_parts: bool = False,
) -> keras.Model:
    """Build encoder and heads as one functional model.

    Args:
        config: `BertEncoder`'s, as the next three.
        recompute_layers: see there.
        training_ops: see there.
        shift_positions: see there.
        takes_parts: for rows that hold several sequences, see `select_inputs`: the
            inputs have `part_ids` and `position_ids` [batch, length] and
            `cls_positions` [batch, parts], too, and the outputs that are of [batch]
            below are of [batch, parts].

    Inputs, all int32: `input_ids`, `input_mask`, `segment_ids` [batch, length] and
    `masked_lm_positions` [batch, predictions].

    Outputs: `sequence_output` [batch, length, hidden] and `pooled_output`
    [batch, hidden] and `mlm_hidden` [batch, predictions, hidden], for the methods of
    `MaskedLmHead`, in the compute dtype; `nsp_logits` [batch, 2] in float32 (class 1:
    the second part is a random one). The layers are `model.get_layer(...)` of "bert"
    (the encoder), `MLM_HEAD` and `NSP_HEAD`.
    """
    names = _INPUTS + (_PART_INPUTS if takes_parts else ())
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in names}
    encoder = build_encoder(config, recompute_layers, training_ops, shift_positions)
    outputs = encoder(
        {
            "token_ids": inputs[schema.INPUT_IDS],
            "segment_ids": inputs[schema.SEGMENT_IDS],
            "padding_mask": inputs[schema.INPUT_MASK],
        },
        {name: inputs[name] for name in _PART_INPUTS} if takes_parts else None,
    )
    mlm_hidden = MaskedLmHead(
        config, encoder.token_embedding, training_ops, name=MLM_HEAD
    )(outputs["sequence_output"], inputs[schema.MASKED_LM_POSITIONS])
    nsp_logits = keras.layers.Dense(
        2, kernel_initializer=_initializer(config), dtype="float32", name=NSP_HEAD
    )(keras.ops.cast(outputs["pooled_output"], "float32"))
    return keras.Model(
        inputs,
        {
            SEQUENCE_OUTPUT: outputs["sequence_output"],
            POOLED_OUTPUT: outputs["pooled_output"],
            MLM_HIDDEN: mlm_hidden,
            NSP_LOGITS: nsp_logits,
        },
        name="bert_pretraining",
    )


def select_inputs(model: keras.Model, features: dict) -> dict:
    """Return a model's inputs of a batch.

    Args:
        model: from `build_pretraining_model`.
        features: a batch. If the model takes several sequences a row and the batch has
            one, the inputs say so.
    """
    inputs = {name: features[name] for name in _INPUTS}
    if schema.PART_IDS not in model.input:
        return inputs
    if schema.PART_IDS in features:
        return inputs | {name: features[name] for name in _PART_INPUTS}
    in_use = features[schema.INPUT_MASK]
    return inputs | {
        schema.PART_IDS: in_use,
        schema.POSITION_IDS: tf.range(tf.shape(in_use)[1]) * tf.ones_like(in_use),
        schema.CLS_POSITIONS: tf.zeros_like(in_use[:, :1]),
    }


def predict(model: keras.Model, features: dict) -> dict:
    """Return the outputs for evaluation: dropout off, and the logits of masked tokens.

    Args:
        model: from `build_pretraining_model`.
        features: a batch, see `select_inputs`.

    Returns:
        The model's outputs and `mlm_logits`, float32 [batch, predictions, vocabulary].
    """
    outputs = model(select_inputs(model, features), training=False)
    head = model.get_layer(MLM_HEAD)
    return outputs | {MLM_LOGITS: head.compute_logits(outputs[MLM_HIDDEN])}


def freeze_sentence_head(model: keras.Model) -> None:
    """Take the pooler and the next-sentence head out of training.

    For the masked-LM loss alone, which reaches neither: with no gradient, weight decay
    would slowly wipe out a checkpoint's weights. Call it before the optimizer is built.
    """
    model.get_layer("bert").pooled_dense.trainable = False
    model.get_layer(NSP_HEAD).trainable = False

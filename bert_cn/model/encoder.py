"""BERT's encoder: KerasHub's weights, our own forward and backward pass.

Devlin et al., 2018 (https://arxiv.org/abs/1810.04805). `BertEncoder` has the layers and
variables of KerasHub's BertBackbone and computes the same function. What differs is
how: see `fused_ops`. It can also forget the activations inside its layers and compute
them again in the backward pass, with the same dropout masks: see `recomputation`.
"""

import functools
import typing

import keras
import keras_hub
import tensorflow as tf

from bert_cn.model import attention, fused_ops, recomputation
from bert_cn.model import config as config_lib
from bert_cn.model import dropout as dropout_lib

# Added to the scores of padding; finite in bfloat16 too, so that a row of nothing but
# padding has a softmax.
_MASKED_SCORE = -1e9
# Dropouts in one forward pass that can have seeds of their own.
_SEEDS_PER_PASS = 4096
_SEEDS_PER_LAYER = 3


class _LayerWeights(typing.NamedTuple):
    """Tensors of one layer: kernels [in, out] in the compute dtype, others float32."""

    projection_kernel: tf.Tensor  # Of query, key and value, side by side.
    projection_bias: tf.Tensor
    attention_kernel: tf.Tensor
    attention_bias: tf.Tensor
    attention_gamma: tf.Tensor
    attention_beta: tf.Tensor
    intermediate_kernel: tf.Tensor
    intermediate_bias: tf.Tensor
    output_kernel: tf.Tensor
    output_bias: tf.Tensor
    output_gamma: tf.Tensor
    output_beta: tf.Tensor


@keras.saving.register_keras_serializable("bert_cn")
class BertEncoder(keras_hub.models.BertBackbone):
    """KerasHub's BertBackbone with a forward and backward pass of our own.

    Inputs and outputs are BertBackbone's: int `token_ids`, `segment_ids` and
    `padding_mask` [batch, length] give `sequence_output` [batch, length, hidden] and
    `pooled_output` [batch, hidden] in the compute dtype.

    Args:
        config: sizes, activation and dropout rates.
        recompute_layers: keep only each layer's input for the backward pass, and
            compute the rest of the layer again there.
        fuse: compile the elementwise pieces of training with XLA, one by one; for
            CPUs. See `fused_ops`.
        **kwargs: of `keras.Model`.
    """

    def __init__(
        self,
        config: config_lib.BertConfig,
        recompute_layers: bool = False,
        fuse: bool = False,
        **kwargs,
    ):
        super().__init__(
            vocabulary_size=config.vocab_size,
            num_layers=config.num_hidden_layers,
            num_heads=config.num_attention_heads,
            hidden_dim=config.hidden_size,
            intermediate_dim=config.intermediate_size,
            # KerasHub's own dropout layers are not used.
            dropout=0.0,
            max_sequence_length=config.max_position_embeddings,
            num_segments=config.type_vocab_size,
            **kwargs,
        )
        self._config = config
        self._recompute_layers = recompute_layers
        self._fuse = fuse
        self.dropout_seeds = keras.random.SeedGenerator()

    @property
    def config(self) -> config_lib.BertConfig:
        """What the encoder was built from."""
        return self._config

    def call(self, inputs, training=None, mask=None):
        """Compute both outputs; see the class."""
        seeds = None
        if training:
            seeds = dropout_lib.next_seed(self.dropout_seeds, _SEEDS_PER_PASS)
        fuse = self._fuse and bool(training)
        x = self._embed(inputs["token_ids"], inputs["segment_ids"], seeds, fuse)
        padding = tf.cast(inputs["padding_mask"] == 0, self.compute_dtype)
        mask = padding * tf.cast(_MASKED_SCORE, padding.dtype)
        for number, layer in enumerate(self.transformer_layers):
            compute = functools.partial(
                _compute_layer, mask=mask, config=self._config, fuse=fuse
            )
            if self._recompute_layers and training:
                compute = functools.partial(recomputation.recompute, compute)
            weights = _layer_weights(layer, self.compute_dtype)
            x = compute(x, _layer_seeds(seeds, number), *weights)
        batch, length = tf.unstack(tf.shape(inputs["token_ids"]))
        x = tf.reshape(x, (batch, length, self.hidden_dim))
        return {"sequence_output": x, "pooled_output": self.pooled_dense(x[:, 0])}

    def _embed(self, token_ids, segment_ids, seeds, fuse):
        """Return compute dtype [batch * length, hidden]."""
        config = self._config
        size = (-1, config.hidden_size)
        tokens = tf.gather(self.token_embedding.embeddings._value, token_ids)
        length = tf.shape(token_ids)[1]
        positions = self.position_embedding.position_embeddings._value[:length]
        segments = tf.one_hot(segment_ids, config.type_vocab_size)
        segments = tf.reshape(segments, (-1, config.type_vocab_size))
        segments = tf.matmul(segments, self.segment_embedding.embeddings._value)
        x = tf.reshape(tokens + positions, size)
        norm = self.embeddings_layer_norm
        x = fused_ops.add_layer_norm(
            tf.cast(x, self.compute_dtype),
            tf.zeros([config.hidden_size]),
            tf.cast(segments, self.compute_dtype),
            norm.gamma._value,
            norm.beta._value,
            None,
            0.0,
            fuse,
        )
        return fused_ops.dropout(x, seeds, config.hidden_dropout_prob, fuse)


def _layer_seeds(seeds, number: int):
    """Return the seeds of a layer's dropouts: weights, attention output, output."""
    if seeds is None:
        return (None,) * _SEEDS_PER_LAYER
    first = 1 + number * _SEEDS_PER_LAYER
    return tuple(seeds + [0, first + use] for use in range(_SEEDS_PER_LAYER))


def _layer_weights(layer: keras.layers.Layer, dtype: str) -> _LayerWeights:
    attention = layer._self_attention_layer
    denses = {
        "projection": (
            attention._query_dense,
            attention._key_dense,
            attention._value_dense,
        ),
        "attention": (attention._output_dense,),
        "intermediate": (layer._feedforward_intermediate_dense,),
        "output": (layer._feedforward_output_dense,),
    }
    norms = {
        "attention": layer._self_attention_layer_norm,
        "output": layer._feedforward_layer_norm,
    }
    weights = {}
    # `_value` because `value` is cast to the compute dtype inside a call.
    for name, parts in denses.items():
        # Heads are an axis of their own in KerasHub's attention weights.
        biases = [tf.reshape(part.bias._value, [-1]) for part in parts]
        kernels = [
            tf.reshape(tf.cast(part.kernel._value, dtype), (-1, bias.shape[0]))
            for part, bias in zip(parts, biases, strict=True)
        ]
        weights[f"{name}_kernel"] = tf.concat(kernels, axis=1)
        weights[f"{name}_bias"] = tf.concat(biases, axis=0)
    for name, norm in norms.items():
        weights[f"{name}_gamma"] = norm.gamma._value
        weights[f"{name}_beta"] = norm.beta._value
    return _LayerWeights(**weights)


def _compute_layer(
    x: tf.Tensor,
    seeds: tuple[tf.Tensor | None, ...],
    *weights: tf.Tensor,
    mask: tf.Tensor,
    config: config_lib.BertConfig,
    fuse: bool,
) -> tf.Tensor:
    """Compute one layer on [batch * length, hidden]."""
    w = _LayerWeights(*weights)
    output = attention.attend(
        x,
        (w.projection_kernel, w.projection_bias),
        w.attention_kernel,
        mask,
        config.num_attention_heads,
        seeds[0],
        config.attention_probs_dropout_prob,
        fuse,
    )
    attended = fused_ops.add_layer_norm(
        output,
        w.attention_bias,
        x,
        w.attention_gamma,
        w.attention_beta,
        seeds[1],
        config.hidden_dropout_prob,
        fuse,
    )
    inner = fused_ops.bias_gelu(
        tf.matmul(attended, w.intermediate_kernel),
        w.intermediate_bias,
        config.hidden_act == config_lib.GELU_TANH,
        fuse,
    )
    return fused_ops.add_layer_norm(
        tf.matmul(inner, w.output_kernel),
        w.output_bias,
        attended,
        w.output_gamma,
        w.output_beta,
        seeds[2],
        config.hidden_dropout_prob,
        fuse,
    )

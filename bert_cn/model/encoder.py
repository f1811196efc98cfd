"""BERT's encoder: KerasHub's weights, our own forward and backward pass.

Devlin et al., 2018 (https://arxiv.org/abs/1810.04805). `BertEncoder` has the layers and
variables of KerasHub's BertBackbone and computes the same function, with the faster
operations of `fused_ops`. It can also forget the activations inside its layers and
compute them again in the backward pass, with the same dropout masks: see
`recomputation`.
"""

import functools
import typing

import keras
import keras_hub
import tensorflow as tf

from bert_cn.model import attention, fused_ops, recomputation
from bert_cn.model import config as config_lib
from bert_cn.model import dropout as dropout_lib
from data_prep.records import schema

# Added to the attention scores of padding; finite in bfloat16 too, so that a sequence
# that is all padding has a softmax.
_MASKED_SCORE = -1e9
# One forward pass has at most this many dropouts, each with a seed of its own.
_SEEDS_PER_PASS = 4096
# Attention weights, attention output, layer output.
_SEEDS_PER_LAYER = 3


class _LayerWeights(typing.NamedTuple):
    """Tensors of one layer: kernels [in, out] in the compute dtype, others float32.

    The projection is that of query, key and value, side by side. They are one flat
    tuple, since `recomputation.recompute` takes tensors alone.
    """

    projection_kernel: tf.Tensor
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


class BertEncoder(keras_hub.models.BertBackbone):
    """KerasHub's BertBackbone with a forward and backward pass of our own.

    Inputs and outputs are BertBackbone's: int `token_ids`, `segment_ids` and
    `padding_mask` [batch, length] give `sequence_output` [batch, length, hidden] and
    `pooled_output` [batch, hidden] in the compute dtype.

    Rows that hold several sequences are called with `parts`, a dict of int tensors:
    `part_ids` and `position_ids` [batch, length], the number of each token's sequence
    (0 for padding) and its position there, and `cls_positions` [batch, parts], the
    place of each [CLS]. A token then sees its own sequence alone, and `pooled_output`
    is [batch, parts, hidden].

    Args:
        config: sizes, activation and dropout rates.
        recompute_layers: keep only each layer's input for the backward pass, and
            compute the rest of the layer again there.
        training_ops: what training computes with, `fused_ops.CPU` or `fused_ops.XLA`;
            inference always uses XLA's.
        shift_positions: in training, number the positions of each batch from a random
            one on, so that short sequences train all of them (Kiyono et al., 2021,
            https://arxiv.org/abs/2109.05644).
        **kwargs: of `keras.Model`.
    """

    def __init__(
        self,
        config: config_lib.BertConfig,
        recompute_layers: bool = False,
        training_ops: fused_ops.Ops = fused_ops.XLA,
        shift_positions: bool = False,
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
        self._training_ops = training_ops
        self._shift_positions = shift_positions
        self.dropout_seeds = keras.random.SeedGenerator()

    def call(
        self, inputs, parts=None, training=None, mask=None, with_first_layer=False
    ):
        """Compute both outputs; see the class.

        With `with_first_layer` there is `first_layer_output`, too, the states after
        the first layer, in the shape of `sequence_output`.
        """
        seeds = None
        if training:
            seeds = dropout_lib.next_seed(self.dropout_seeds, _SEEDS_PER_PASS)
        ops = self._training_ops if training else fused_ops.XLA
        parts = parts or {}
        x = self._embed(ops, inputs, parts.get(schema.POSITION_IDS), seeds)
        mask = self._hide(inputs["padding_mask"], parts.get(schema.PART_IDS))
        compute = functools.partial(
            _compute_layer, ops=ops, config=self._config, mask=mask
        )
        if self._recompute_layers and training:
            compute = functools.partial(recomputation.recompute, compute)
        for number, layer in enumerate(self.transformer_layers):
            weights = _layer_weights(layer, self.compute_dtype)
            x = compute(x, _layer_seeds(seeds, number), *weights)
            if number == 0:
                first = x
        batch, length = tf.unstack(tf.shape(inputs["token_ids"]))
        x = tf.reshape(x, (batch, length, self.hidden_dim))  # [batch, length, hidden]
        cls = x[:, 0]  # [batch, hidden]
        if parts:
            cls = tf.gather(x, parts[schema.CLS_POSITIONS], batch_dims=1)
        pooled = self.pooled_dense(cls)
        outputs = {"sequence_output": x, "pooled_output": pooled}
        if with_first_layer:
            outputs["first_layer_output"] = tf.reshape(first, tf.shape(x))
        return outputs

    def _hide(self, padding_mask, part_ids):
        """Return what is added to attention scores, see `attention.attend_cpu`."""
        if part_ids is None:
            hidden = padding_mask[:, tf.newaxis, :] == 0
        else:
            hidden = part_ids[:, :, tf.newaxis] != part_ids[:, tf.newaxis, :]
        hidden = tf.cast(hidden, self.compute_dtype)
        return hidden * tf.cast(_MASKED_SCORE, hidden.dtype)

    def _embed(self, ops: fused_ops.Ops, inputs, position_ids, seeds):
        """Return compute dtype [batch * length, hidden]."""
        config = self._config
        token_ids, segment_ids = inputs["token_ids"], inputs["segment_ids"]
        # `_value` because `value` is cast to the compute dtype inside a call.
        table = self.token_embedding.embeddings._value
        tokens = tf.gather(table, token_ids)  # [batch, length, hidden]
        table = self.position_embedding.position_embeddings._value
        length, first = tf.shape(token_ids)[1], config.first_position
        is_shifted = self._shift_positions and seeds is not None
        if is_shifted:
            first += _draw_first(config.max_length - length + 1, seeds)
        if position_ids is not None:
            positions = tf.gather(table, first + position_ids)
        elif is_shifted:
            # Not a slice: its gradient is no program for XLA.
            positions = tf.gather(table, first + tf.range(length))
        else:
            positions = table[first : first + length]  # [length, hidden]
        segments = tf.one_hot(segment_ids, config.type_vocab_size)
        segments = tf.reshape(segments, (-1, config.type_vocab_size))
        table = self.segment_embedding.embeddings._value
        segments = tf.matmul(segments, table)  # [batch * length, hidden]
        x = tf.reshape(tokens + positions, (-1, config.hidden_size))
        norm = self.embeddings_layer_norm
        x = ops.add_layer_norm(
            tf.cast(x, self.compute_dtype),
            tf.zeros([config.hidden_size]),
            tf.cast(segments, self.compute_dtype),
            fused_ops.NormWeights(norm.gamma._value, norm.beta._value),
            seed=None,
            rate=0.0,
            epsilon=config.layer_norm_eps,
        )
        return ops.dropout(x, seeds, config.hidden_dropout_prob)


def _draw_first(limit, seeds):
    """Return a random number in [0, limit), an int32 scalar."""
    seed = seeds + [0, _SEEDS_PER_PASS - 1]
    share = tf.random.stateless_uniform([], seed)
    return tf.cast(share * tf.cast(limit, tf.float32), tf.int32)


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
        biases = [tf.reshape(part.bias._value, [-1]) for part in parts]  # [out] each
        kernels = [
            tf.reshape(tf.cast(part.kernel._value, dtype), (-1, bias.shape[0]))
            for part, bias in zip(parts, biases, strict=True)
        ]  # [in, out] each
        weights[f"{name}_kernel"] = tf.concat(kernels, axis=1)  # [in, parts * out]
        weights[f"{name}_bias"] = tf.concat(biases, axis=0)  # [parts * out]
    for name, norm in norms.items():
        weights[f"{name}_gamma"] = norm.gamma._value
        weights[f"{name}_beta"] = norm.beta._value
    return _LayerWeights(**weights)


def _compute_layer(
    x: tf.Tensor,
    seeds: tuple[tf.Tensor | None, ...],
    *weights: tf.Tensor,
    ops: fused_ops.Ops,
    config: config_lib.BertConfig,
    mask: tf.Tensor,
) -> tf.Tensor:
    """Compute one layer on [batch * length, hidden]; `weights` are `_LayerWeights`."""
    w = _LayerWeights(*weights)
    output = ops.attend(
        x,
        attention.AttentionWeights(
            w.projection_kernel, w.projection_bias, w.attention_kernel
        ),
        mask,
        config.num_attention_heads,
        seeds[0],
        config.attention_probs_dropout_prob,
    )
    attended = ops.add_layer_norm(
        output,
        w.attention_bias,
        x,
        fused_ops.NormWeights(w.attention_gamma, w.attention_beta),
        seeds[1],
        config.hidden_dropout_prob,
        config.layer_norm_eps,
    )
    inner = ops.bias_gelu(
        tf.matmul(attended, w.intermediate_kernel),  # [batch * length, intermediate]
        w.intermediate_bias,
        approximate=config.hidden_act == config_lib.GELU_TANH,
    )
    return ops.add_layer_norm(
        tf.matmul(inner, w.output_kernel),  # [batch * length, hidden]
        w.output_bias,
        attended,
        fused_ops.NormWeights(w.output_gamma, w.output_beta),
        seeds[2],
        config.hidden_dropout_prob,
        config.layer_norm_eps,
    )

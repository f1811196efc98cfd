"""Scaled dot-product attention with dropout, forward and backward.

Vaswani et al., 2017, section 3.2.1 (https://arxiv.org/abs/1706.03762). There are two
implementations, because the fast way differs between devices:

- `attend_cpu` uses oneDNN's softmax and products of matrices that lie in order. It
  keeps the softmax once, and marks dropped entries by their sign.
- `attend_xla` is for a program that XLA compiles as a whole. Its products leave the
  memory layout open, with keys before queries as the TPU's compiler wants them. It
  keeps the exponentials before they are divided by their sum and divides the much
  smaller context instead; the row sums of the softmax's gradient come from the context,
  too (Dao et al., 2022, appendix B.2, https://arxiv.org/abs/2205.14135).

Both take and return the same; `fused_ops` says which one is used where. Letters in
shapes: b batch, l length (of queries), m the same length (of keys), h heads, k size of
a head, d hidden size (h * k).
"""

import math
import typing

import tensorflow as tf

from bert_cn.model.dropout import apply_mask, draw_mask
from bert_cn.model.numerics import compile_loop, float32, row_sum


class AttentionWeights(typing.NamedTuple):
    """Weights of one layer's attention, without the output's bias."""

    kernel: tf.Tensor
    """Query, key and value side by side: compute dtype [hidden, 3 * hidden]."""
    bias: tf.Tensor
    """Biases of query, key and value: float32 [3 * hidden]."""
    output_kernel: tf.Tensor
    """Compute dtype [hidden, hidden]."""


def attend_cpu(
    x: tf.Tensor,
    weights: AttentionWeights,
    mask: tf.Tensor,
    heads: int,
    seed: tf.Tensor | None,
    rate: float,
) -> tf.Tensor:
    """Return a sequence's attention to itself, before the output's bias is added.

    Args:
        x: compute dtype [batch * length, hidden].
        weights: of the layer.
        mask: compute dtype [batch, 1, length] or [batch, length, length], a large
            negative number where a query is not to see a key, else 0. It is symmetric
            if it has queries.
        heads: number of heads, a divisor of hidden.
        seed: seed of the dropout of the attention weights, or None for no dropout.
        rate: share of the attention weights that is dropped.

    Returns:
        Compute dtype [batch * length, hidden].
    """
    batch, length, size = _find_sizes(x, mask, heads)
    projected = tf.matmul(x, weights.kernel)  # [b * l, 3 * d]
    projected = tf.nn.bias_add(projected, tf.cast(weights.bias, x.dtype))
    projected = tf.reshape(projected, (batch, length, 3, heads, size))
    projected = tf.transpose(projected, (2, 0, 3, 1, 4))  # [3, b, h, l, k]
    mask = mask[:, tf.newaxis]  # [b, 1, 1 or l, m]
    context = _mix_values_cpu(projected, mask, seed if rate else None, rate)
    context = tf.transpose(context, (0, 2, 1, 3))  # [b, l, h, k]
    context = tf.reshape(context, tf.shape(x))  # [b * l, d]
    return tf.matmul(context, weights.output_kernel)


def _find_sizes(x, mask, heads: int):
    """Return batch, length and size of a head: numbers where they are known."""
    batch, _, length = tf.unstack(tf.shape(mask))
    if mask.shape.is_fully_defined():
        batch, _, length = mask.shape
    return batch, length, x.shape[-1] // heads


@compile_loop
def _mark_dropped(weights, seed, rate):
    """Return the weights with the dropped ones negative, and those after dropout."""
    keeps = draw_mask(weights, seed, rate)
    return tf.where(keeps, weights, -weights), apply_mask(weights, keeps, rate)


@compile_loop
def _backward_cpu(marked, dkept, rate, score_scale):
    """Return the gradient of query key^T, and the weights after dropout.

    A weight of 0 has no sign, but then its gradient is 0 either way.
    """
    dtype = marked.dtype
    marked, dkept = float32(marked), float32(dkept)
    scale = 1.0 / (1.0 - rate)
    weights = tf.abs(marked)
    dweights = tf.where(marked > 0, dkept * scale, 0.0)
    dscores = weights * (dweights - row_sum(dweights * weights)) * score_scale
    return tf.cast(dscores, dtype), tf.cast(tf.maximum(marked, 0.0) * scale, dtype)


def _mix_values_cpu(projected, mask, seed, rate):
    """Return the context [b, h, l, k] of query, key and value [3, b, h, l, k]."""
    score_scale = 1.0 / math.sqrt(projected.shape[-1])

    @tf.custom_gradient
    def apply(projected):
        query, key, value = projected[0], projected[1], projected[2]  # [b, h, l, k]
        scores = tf.matmul(query, key, transpose_b=True)  # [b, h, l, m]
        weights = kept = marked = tf.nn.softmax(
            scores * tf.cast(score_scale, scores.dtype) + mask
        )
        if seed is not None:
            marked, kept = _mark_dropped(weights, seed, rate)

        def grad(dy):
            dkept = tf.matmul(dy, value, transpose_b=True)  # [b, h, l, m]
            dscores, kept = _backward_cpu(
                marked, dkept, 0.0 if seed is None else rate, score_scale
            )
            return tf.stack(
                [
                    tf.matmul(dscores, key),
                    tf.matmul(dscores, query, transpose_a=True),
                    tf.matmul(kept, dy, transpose_a=True),
                ]
            )  # [3, b, h, l, k]

        return tf.matmul(kept, value), grad  # [b, h, l, k]

    return apply(projected)


def attend_xla(
    x: tf.Tensor,
    weights: AttentionWeights,
    mask: tf.Tensor,
    heads: int,
    seed: tf.Tensor | None,
    rate: float,
) -> tf.Tensor:
    """Return what `attend_cpu` returns, computed for XLA; the arguments are the same.

    Dropout numbers the entries in another order, so that it drops others.
    """
    batch, length, size = _find_sizes(x, mask, heads)
    hidden = x.shape[-1]
    x_by_sequence = tf.reshape(x, (batch, length, hidden))  # [b, l, d]
    kernels = tf.split(weights.kernel, 3, axis=-1)  # 3 times [d, h * k]
    biases = tf.split(weights.bias, 3, axis=-1)  # 3 times [h * k]
    query, key, value = (
        tf.einsum(
            "bld,dhk->blhk", x_by_sequence, tf.reshape(kernel, (hidden, heads, size))
        )
        + tf.cast(tf.reshape(bias, (heads, size)), x.dtype)
        for kernel, bias in zip(kernels, biases, strict=True)
    )  # [b, l, h, k] each
    # Symmetric, or the same for all queries: keys may stand before them.
    mask = float32(tf.transpose(mask, (0, 2, 1)))[:, tf.newaxis]  # [b, 1, m, 1 or l]
    context = _mix_values_xla((query, key, value), mask, seed if rate else None, rate)
    output_kernel = tf.reshape(weights.output_kernel, (heads, size, hidden))
    output = tf.einsum("blhk,hkd->bld", context, output_kernel)
    return tf.reshape(output, tf.shape(x))  # [b * l, d]


def _mix_values_xla(projected, mask, seed, rate):
    """Return the context [b, l, h, k] of query, key and value, [b, l, h, k] each."""
    dtype = projected[0].dtype
    score_scale = 1.0 / math.sqrt(projected[0].shape[-1])
    keep_share = 1.0 if seed is None else 1.0 - rate

    def by_query(x):
        x = tf.transpose(x, (0, 2, 1))  # [b, h, l] -> [b, l, h]
        return x[..., tf.newaxis]  # [b, l, h, 1]

    @tf.custom_gradient
    def apply(query, key, value):
        scores = tf.einsum("bmhk,blhk->bhml", key, query)
        scores = float32(scores) * score_scale + mask
        highest = tf.reduce_max(scores, axis=2, keepdims=True)  # [b, h, 1, l]
        powers = tf.cast(tf.exp(scores - highest), dtype)
        total = tf.reduce_sum(float32(powers), axis=2)  # [b, h, l]
        keeps = draw_mask(powers, seed, rate)

        def keep(x):
            return x if keeps is None else tf.where(keeps, x, tf.zeros_like(x))

        factor = by_query(1.0 / (keep_share * total))  # [b, l, h, 1]
        context = tf.einsum("bhml,bmhk->blhk", keep(powers), value)
        context = tf.cast(float32(context) * factor, dtype)

        def grad(dy):
            scaled = tf.cast(float32(dy) * factor, dtype)
            dkept = float32(tf.einsum("bmhk,blhk->bhml", value, scaled))
            products = float32(dy) * float32(context)
            row_sums = tf.reduce_sum(products, axis=-1)  # [b, l, h]
            row_sums = tf.transpose(row_sums, (0, 2, 1)) / total  # [b, h, l]
            row_sums = row_sums[:, :, tf.newaxis]  # [b, h, 1, l]
            dscores = float32(powers) * (keep(dkept) - row_sums)
            dscores = tf.cast(dscores * score_scale, dtype)
            return (
                tf.einsum("bhml,bmhk->blhk", dscores, key),
                tf.einsum("bhml,blhk->bmhk", dscores, query),
                tf.einsum("bhml,blhk->bmhk", keep(powers), scaled),
            )

        return context, grad

    return apply(*projected)

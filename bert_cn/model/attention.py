"""Scaled dot-product attention with dropout, forward and backward.

Vaswani et al., 2017, section 3.2.1 (https://arxiv.org/abs/1706.03762). Computed in two
ways, since what is fast differs:

- on a CPU, with oneDNN's softmax and products of matrices that lie in order. The
  softmax is kept once, its dropped entries marked by their sign;
- inside a program that XLA compiles as a whole, by products that say nothing of memory
  layout, with keys before queries as the TPU's compiler wants them. The exponentials
  are kept before they are divided by their sum, the much smaller context is divided
  instead, and the row sums of the softmax's gradient come from the context, too
  (Dao et al., 2022, appendix B.2, https://arxiv.org/abs/2205.14135).
"""

import math

import tensorflow as tf

from bert_cn.model.fused_ops import Piece, draw_mask, drop, float32, row_sum


def attend(
    x: tf.Tensor,
    projection: tuple[tf.Tensor, tf.Tensor],
    output_kernel: tf.Tensor,
    mask: tf.Tensor,
    heads: int,
    seed: tf.Tensor | None,
    rate: float,
    fuse: bool,
) -> tf.Tensor:
    """Return a sequence's attention to itself, before the output's bias is added.

    Args:
        x: compute dtype [batch * length, hidden].
        projection: kernel, compute dtype [hidden, 3 * hidden], and bias, float32
            [3 * hidden], of query, key and value, side by side.
        output_kernel: compute dtype [hidden, hidden].
        mask: compute dtype [batch, length], a large negative number where a key is
            padding, else 0.
        heads: number of heads, a divisor of hidden.
        seed: of the dropout of the attention weights, or None.
        rate: share that is dropped.
        fuse: see `fused_ops`.

    Returns:
        Like x.
    """
    batch, length = tf.unstack(tf.shape(mask))
    if mask.shape.is_fully_defined():
        batch, length = mask.shape
    shape = (batch, length, heads, x.shape[-1] // heads)
    compute = _attend_in_order if fuse else _attend_in_any_layout
    seed = seed if rate else None
    return compute(x, projection, output_kernel, mask, shape, seed, rate)


@Piece
def _mark_dropped(weights, seed, rate):
    """Return the weights with the dropped ones negative, and those after dropout."""
    keeps = draw_mask(weights, seed, rate)
    return tf.where(keeps, weights, -weights), drop(weights, keeps, rate)


@Piece
def _backward_in_order(marked, dkept, rate, score_scale):
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


def _attend_in_order(x, projection, output_kernel, mask, shape, seed, rate):
    batch, length, heads, size = shape
    kernel, bias = projection
    projected = tf.nn.bias_add(tf.matmul(x, kernel), tf.cast(bias, x.dtype))
    projected = tf.reshape(projected, (batch, length, 3, heads, size))
    context = _mix_values_in_order(
        tf.transpose(projected, (2, 0, 3, 1, 4)),
        mask[:, tf.newaxis, tf.newaxis, :],
        seed,
        rate,
    )
    context = tf.reshape(tf.transpose(context, (0, 2, 1, 3)), tf.shape(x))
    return tf.matmul(context, output_kernel)


def _mix_values_in_order(projected, mask, seed, rate):
    """Turn [3, batch, heads, length, size] into [batch, heads, length, size]."""
    score_scale = 1.0 / math.sqrt(projected.shape[-1])

    @tf.custom_gradient
    def apply(projected):
        query, key, value = projected[0], projected[1], projected[2]
        scores = tf.matmul(query, key, transpose_b=True)
        weights = kept = marked = tf.nn.softmax(
            scores * tf.cast(score_scale, scores.dtype) + mask
        )
        if seed is not None:
            marked, kept = _mark_dropped(weights, seed, rate, fuse=True)

        def grad(dy):
            dkept = tf.matmul(dy, value, transpose_b=True)
            dscores, kept = _backward_in_order(
                marked, dkept, 0.0 if seed is None else rate, score_scale, fuse=True
            )
            return tf.stack(
                [
                    tf.matmul(dscores, key),
                    tf.matmul(dscores, query, transpose_a=True),
                    tf.matmul(kept, dy, transpose_a=True),
                ]
            )

        return tf.matmul(kept, value), grad

    return apply(projected)


def _attend_in_any_layout(x, projection, output_kernel, mask, shape, seed, rate):
    # Letters: batch, query length l, key length m, hidden d, head h, size k.
    batch, length, heads, size = shape
    hidden = x.shape[-1]
    x_by_sequence = tf.reshape(x, (batch, length, hidden))
    kernels, biases = (tf.split(weight, 3, axis=-1) for weight in projection)
    query, key, value = (
        tf.einsum(
            "bld,dhk->blhk", x_by_sequence, tf.reshape(kernel, (hidden, heads, size))
        )
        + tf.cast(tf.reshape(bias, (heads, size)), x.dtype)
        for kernel, bias in zip(kernels, biases, strict=True)
    )
    mask = float32(mask)[:, tf.newaxis, :, tf.newaxis]
    context = _mix_values_in_any_layout(query, key, value, mask, seed, rate)
    output = tf.einsum(
        "blhk,hkd->bld", context, tf.reshape(output_kernel, (heads, size, hidden))
    )
    return tf.reshape(output, tf.shape(x))


def _mix_values_in_any_layout(query, key, value, mask, seed, rate):
    """Turn three [batch, length, heads, size] into one."""
    dtype = query.dtype
    score_scale = 1.0 / math.sqrt(query.shape[-1])
    keep_share = 1.0 if seed is None else 1.0 - rate

    def by_query(x):  # [b, h, l] -> [b, l, h, 1]
        return tf.transpose(x, (0, 2, 1))[..., tf.newaxis]

    @tf.custom_gradient
    def apply(query, key, value):
        scores = tf.einsum("bmhk,blhk->bhml", key, query)
        scores = float32(scores) * score_scale + mask
        highest = tf.reduce_max(scores, axis=2, keepdims=True)
        powers = tf.cast(tf.exp(scores - highest), dtype)
        total = tf.reduce_sum(float32(powers), axis=2)
        keeps = draw_mask(powers, seed, rate)

        def keep(x):
            return x if keeps is None else tf.where(keeps, x, tf.zeros_like(x))

        factor = by_query(1.0 / (keep_share * total))
        context = tf.einsum("bhml,bmhk->blhk", keep(powers), value)
        context = tf.cast(float32(context) * factor, dtype)

        def grad(dy):
            scaled = tf.cast(float32(dy) * factor, dtype)
            dkept = float32(tf.einsum("bmhk,blhk->bhml", value, scaled))
            row_sums = tf.reduce_sum(float32(dy) * float32(context), axis=-1)
            row_sums = tf.transpose(row_sums, (0, 2, 1)) / total
            dscores = float32(powers) * (keep(dkept) - row_sums[:, :, tf.newaxis])
            dscores = tf.cast(dscores * score_scale, dtype)
            return (
                tf.einsum("bhml,bmhk->blhk", dscores, key),
                tf.einsum("bhml,blhk->bmhk", dscores, query),
                tf.einsum("bhml,blhk->bmhk", keep(powers), scaled),
            )

        return context, grad

    return apply(query, key, value)

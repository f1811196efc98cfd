"""The encoder's elementwise work, each piece with its gradient written out.

TensorFlow's automatic gradient of, say, dropout + residual + LayerNorm keeps a handful
of intermediate arrays alive and makes a pass over memory for each of its some twenty
ops. Here each piece keeps what its gradient really needs and nothing else:

- GELU keeps its input;
- LayerNorm keeps the sum that it normalizes, in the compute dtype;
- the masked-LM loss keeps the softmax of the logits and not the logits.

With `fuse=True` the pieces are compiled by XLA one by one, which makes one loop of
each, while matrix products stay TensorFlow's own (oneDNN's on a CPU, where XLA's
bfloat16 product has less than half their rate). Inside a program that XLA compiles as
a whole, as on a TPU, `fuse` has no use.

Statistics, losses and gradients of parameters are float32 whatever the compute dtype.
A `seed` is an integer tensor [2]; where it is None, nothing is dropped.
"""

import math

import numpy as np
import tensorflow as tf

from bert_cn.model import dropout as dropout_lib
from bert_cn.training import environment

LAYER_NORM_EPSILON = 1e-12
_SMALLEST_FLOAT32 = np.finfo(np.float32).tiny

# XLA keeps the order of a sum, so that one long row is a chain of dependent additions;
# as many sums side by side fill a vector register.
_LANES = 16


class Piece:
    """A function of tensors that XLA may compile into one loop."""

    def __init__(self, function):
        self._function = function
        self._compiled = function
        # The TensorFlow of a TPU VM compiles for the TPU alone, which needs no `fuse`.
        if environment.has_compiler_for_cpu():
            self._compiled = tf.function(function, jit_compile=True, autograph=False)

    def __call__(self, *arguments, fuse: bool):
        """Compute, by one compiled loop if `fuse`."""
        return (self._compiled if fuse else self._function)(*arguments)


def row_sum(x):
    """Return sums over the last axis, kept as an axis of size 1."""
    if x.shape.is_fully_defined() and x.shape[-1] % _LANES == 0:
        x = tf.reduce_sum(tf.reshape(x, (*x.shape[:-1], -1, _LANES)), axis=-2)
    return tf.reduce_sum(x, axis=-1, keepdims=True)


def _row_mean(x):
    return row_sum(x) / x.shape[-1]


def _column_sum(x):
    return tf.reduce_sum(x, axis=list(range(x.shape.rank - 1)))


def float32(x):
    """Return x as float32."""
    return tf.cast(x, tf.float32)


def drop(x, keeps, rate: float):
    """Zero what is not kept and scale up the rest; keeps None drops nothing."""
    if keeps is None:
        return x
    scale = tf.cast(1.0 / (1.0 - rate), x.dtype)
    return tf.where(keeps, x * scale, tf.zeros_like(x))


def draw_mask(x, seed, rate: float):
    """Return which entries of x are kept, bool, or None without a seed."""
    return None if seed is None else dropout_lib.draw(x, seed, rate)


@Piece
def _dropout(x, seed, rate):
    return drop(x, draw_mask(x, seed, rate), rate)


def dropout(x: tf.Tensor, seed: tf.Tensor | None, rate: float, fuse: bool) -> tf.Tensor:
    """Drop entries of x, of any shape (Srivastava et al., 2014)."""
    if seed is None or rate == 0:
        return x

    @tf.custom_gradient
    def apply(x):
        # The same mask once more, from the same seed.
        return _dropout(x, seed, rate, fuse=fuse), lambda dy: _dropout(
            dy, seed, rate, fuse=fuse
        )

    return apply(x)


@Piece
def _add_norm_forward(x, bias, residual, gamma, beta, seed, rate):
    keeps = draw_mask(x, seed, rate)
    total = float32(residual) + drop(float32(x) + bias, keeps, rate)
    mean = _row_mean(total)
    variance = tf.maximum(_row_mean(total * total) - mean * mean, 0.0)
    inverse = tf.math.rsqrt(variance + LAYER_NORM_EPSILON)
    total = tf.cast(total, x.dtype)
    y = (float32(total) - mean) * inverse * gamma + beta
    return tf.cast(y, x.dtype), (total, mean, inverse, keeps)


@Piece
def _add_norm_backward(dy, kept, gamma, rate):
    total, mean, inverse, keeps = kept
    dtype = dy.dtype
    dy, normalized = float32(dy), (float32(total) - mean) * inverse
    dnormalized = dy * gamma
    dtotal = inverse * (
        dnormalized
        - _row_mean(dnormalized)
        - normalized * _row_mean(dnormalized * normalized)
    )
    dx = drop(dtotal, keeps, rate)
    return (
        tf.cast(dx, dtype),
        _column_sum(dx),
        tf.cast(dtotal, dtype),
        _column_sum(dy * normalized),
        _column_sum(dy),
    )


def add_layer_norm(
    x: tf.Tensor,
    bias: tf.Tensor,
    residual: tf.Tensor,
    gamma: tf.Tensor,
    beta: tf.Tensor,
    seed: tf.Tensor | None,
    rate: float,
    fuse: bool,
) -> tf.Tensor:
    """Return LayerNorm(residual + dropout(x + bias)).

    LayerNorm: Ba et al., 2016 (https://arxiv.org/abs/1607.06450).

    Args:
        x: compute dtype [..., hidden].
        bias: float32 [hidden].
        residual: like x.
        gamma: float32 [hidden], scale of LayerNorm.
        beta: float32 [hidden], offset of LayerNorm.
        seed: of the dropout, or None.
        rate: share that is dropped.
        fuse: see the module.

    Returns:
        Like x.
    """
    seed = seed if rate else None

    @tf.custom_gradient
    def apply(x, bias, residual, gamma, beta):
        y, kept = _add_norm_forward(
            x, bias, residual, gamma, beta, seed, rate, fuse=fuse
        )

        def grad(dy):
            return _add_norm_backward(dy, kept, gamma, rate, fuse=fuse)

        return y, grad

    return apply(x, bias, residual, gamma, beta)


_TANH_SCALE = math.sqrt(2.0 / math.pi)
_TANH_CUBE = 0.044715


def _gelu_tanh(x):
    return 0.5 * x * (1.0 + tf.tanh(_TANH_SCALE * (x + _TANH_CUBE * x * x * x)))


def _gelu_tanh_slope(x):
    t = tf.tanh(_TANH_SCALE * (x + _TANH_CUBE * x * x * x))
    inner = _TANH_SCALE * (1.0 + 3.0 * _TANH_CUBE * x * x)
    return 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * inner


def _gelu_exact(x):
    return 0.5 * x * (1.0 + tf.math.erf(x / math.sqrt(2.0)))


def _gelu_exact_slope(x):
    density = tf.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi)
    return 0.5 * (1.0 + tf.math.erf(x / math.sqrt(2.0))) + x * density


@Piece
def _bias_gelu_forward(x, bias, approximate):
    gelu = _gelu_tanh if approximate else _gelu_exact
    return tf.cast(gelu(float32(x) + bias), x.dtype)


@Piece
def _bias_gelu_backward(dy, x, bias, approximate):
    slope = _gelu_tanh_slope if approximate else _gelu_exact_slope
    dx = float32(dy) * slope(float32(x) + bias)
    return tf.cast(dx, dy.dtype), _column_sum(dx)


def bias_gelu(
    x: tf.Tensor, bias: tf.Tensor, approximate: bool, fuse: bool
) -> tf.Tensor:
    """Return GELU(x + bias) (Hendrycks and Gimpel, 2016, arXiv 1606.08415).

    Args:
        x: compute dtype [..., size].
        bias: float32 [size].
        approximate: whether by the tanh approximation, else by the error function.
        fuse: see the module.
    """

    @tf.custom_gradient
    def apply(x, bias):
        def grad(dy):
            return _bias_gelu_backward(dy, x, bias, approximate, fuse=fuse)

        return _bias_gelu_forward(x, bias, approximate, fuse=fuse), grad

    return apply(x, bias)


def _prediction_errors(probabilities, labels, label_probabilities, dtype, fuse):
    """Return softmax - one_hot, the gradient of the loss by the logits."""
    label_errors = tf.cast(label_probabilities - 1.0, dtype)
    if fuse:
        # On a CPU a few entries are changed in place, once they have been read.
        with tf.control_dependencies([label_errors]):
            errors = tf.cast(tf.identity(probabilities), dtype)
        rows = tf.range(tf.shape(labels)[0], dtype=labels.dtype)
        index = tf.stack([rows, labels], axis=1)
        return tf.tensor_scatter_nd_update(errors, index, label_errors)
    vocabulary = tf.range(probabilities.shape[-1], dtype=labels.dtype)
    hits = vocabulary[tf.newaxis] == labels[:, tf.newaxis]
    return tf.cast(probabilities - tf.cast(hits, tf.float32), dtype)


@Piece
def _add_bias(logits, bias):
    return float32(logits) + bias


def sum_masked_lm(
    hidden: tf.Tensor,
    table: tf.Tensor,
    bias: tf.Tensor,
    labels: tf.Tensor,
    weights: tf.Tensor,
    fuse: bool,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Add up the cross entropy and the right predictions of masked tokens.

    The gradient of the logits is never scaled by the weights, but the hidden states
    are, which are a hundred times smaller.

    Args:
        hidden: compute dtype [tokens, hidden], after the head's transformation.
        table: compute dtype [vocabulary, hidden], the token embeddings.
        bias: float32 [vocabulary].
        labels: int32 [tokens].
        weights: float32 [tokens].
        fuse: see the module.

    Returns:
        float32 scalars: sum of weights * cross entropy, and sum of the weights where
        no token's logit is above the label's; only the first has a gradient.
    """

    @tf.custom_gradient
    def apply(hidden, table, bias):
        logits = tf.matmul(hidden, table, transpose_b=True)
        probabilities = tf.nn.softmax(_add_bias(logits, bias, fuse=fuse))
        highest = tf.reduce_max(probabilities, axis=-1)
        label_probabilities = tf.gather(probabilities, labels, batch_dims=1)
        right = float32(label_probabilities >= highest)
        # A probability too small for float32 counts as the smallest there is, so that
        # such a loss is 87 and not infinite; its gradient is exact either way.
        losses = -tf.math.log(
            tf.where(label_probabilities == 0, _SMALLEST_FLOAT32, label_probabilities)
        )
        with tf.control_dependencies([right]):
            errors = _prediction_errors(
                probabilities, labels, label_probabilities, hidden.dtype, fuse
            )

        def grad(dloss, _):
            factors = (dloss * weights)[:, tf.newaxis]
            weighted = tf.cast(float32(hidden) * factors, hidden.dtype)
            dhidden = float32(tf.matmul(errors, table)) * factors
            dbias = tf.matmul(errors, tf.cast(factors, errors.dtype), transpose_a=True)
            return (
                tf.cast(dhidden, hidden.dtype),
                tf.matmul(errors, weighted, transpose_a=True),
                float32(dbias[:, 0]),
            )

        sums = tf.reduce_sum(losses * weights), tf.reduce_sum(right * weights)
        return sums, grad

    return apply(hidden, table, bias)

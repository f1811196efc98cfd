"""The encoder's elementwise work, each piece with its gradient written out.

TensorFlow's automatic gradient of, say, dropout + residual + LayerNorm keeps a handful
of intermediate arrays alive and passes over memory for each of its some twenty ops.
Here each piece keeps only what its gradient needs:

- GELU keeps its input;
- LayerNorm keeps the sum that it normalizes, in the compute dtype;
- the masked-LM loss keeps the softmax of the logits instead of the logits.

`Ops` has two implementations, and the model is built with one of them:

- `XLA`, for a program that XLA compiles as a whole, as on a TPU, and for TensorFlow's
  own kernels.
- `CPU`: XLA compiles the pieces one by one, each into one loop, while matrix products
  stay TensorFlow's own (oneDNN's, which have more than twice the rate of XLA's in
  bfloat16).

Statistics, losses and gradients of parameters are float32 whatever the compute dtype.
A `seed` is an integer tensor [2]; if it is None, nothing is dropped.
"""

import math
import typing
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from bert_cn.model import attention
from bert_cn.model.dropout import apply_mask, draw_mask
from bert_cn.model.numerics import column_sum, compile_loop, float32, row_mean

_SMALLEST_FLOAT32 = np.finfo(np.float32).tiny


class NormWeights(typing.NamedTuple):
    """Scale and offset of a LayerNorm, float32 [hidden] each."""

    gamma: tf.Tensor
    beta: tf.Tensor


class SoftTargets(typing.NamedTuple):
    """What a teacher expects at each masked position.

    Attributes:
        probabilities: float32 [tokens, vocabulary].
        share: of the loss, from 0 to 1; the labels have the rest.
    """

    probabilities: tf.Tensor
    share: float


class MaskedLmSums(typing.NamedTuple):
    """Sums over masked tokens, float32 scalars.

    Attributes:
        objective: of what is to be minimized; it alone has a gradient.
        loss: of the cross entropy of the labels; the same without a teacher.
        correct: of the weights where no token's logit is above the label's.
    """

    objective: tf.Tensor
    loss: tf.Tensor
    correct: tf.Tensor


def _dropout(x, seed, rate):
    return apply_mask(x, draw_mask(x, seed, rate), rate)


def _add_norm_forward(x, bias, residual, norm, seed, rate, epsilon):
    keeps = draw_mask(x, seed, rate)
    total = float32(residual) + apply_mask(float32(x) + bias, keeps, rate)
    mean = row_mean(total)  # [..., 1]
    variance = tf.maximum(row_mean(total * total) - mean * mean, 0.0)  # [..., 1]
    inverse = tf.math.rsqrt(variance + epsilon)
    total = tf.cast(total, x.dtype)
    y = (float32(total) - mean) * inverse * norm.gamma + norm.beta
    return tf.cast(y, x.dtype), (total, mean, inverse, keeps)


def _add_norm_backward(dy, kept, gamma, rate):
    total, mean, inverse, keeps = kept
    dtype = dy.dtype
    dy, normalized = float32(dy), (float32(total) - mean) * inverse
    dnormalized = dy * gamma
    dtotal = inverse * (
        dnormalized
        - row_mean(dnormalized)
        - normalized * row_mean(dnormalized * normalized)
    )
    dx = apply_mask(dtotal, keeps, rate)
    return (
        tf.cast(dx, dtype),
        column_sum(dx),  # [hidden]
        tf.cast(dtotal, dtype),
        column_sum(dy * normalized),  # [hidden]
        column_sum(dy),  # [hidden]
    )


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


def _bias_gelu_forward(x, bias, approximate):
    gelu = _gelu_tanh if approximate else _gelu_exact
    return tf.cast(gelu(float32(x) + bias), x.dtype)


def _bias_gelu_backward(dy, x, bias, approximate):
    slope = _gelu_tanh_slope if approximate else _gelu_exact_slope
    dx = float32(dy) * slope(float32(x) + bias)
    return tf.cast(dx, dy.dtype), column_sum(dx)  # dx's shape, [size]


def _add_bias(logits, bias):
    return float32(logits) + bias


def _subtract_labels_cpu(probabilities, labels, label_probs, share, dtype):
    """Return softmax - share * one_hot; with share 1 the gradient by the logits.

    Args:
        probabilities: float32 [tokens, vocabulary].
        labels: int32 [tokens].
        label_probs: float32 [tokens], the probabilities of the labels.
        share: of the labels in the loss.
        dtype: of the result.
    """
    label_errors = tf.cast(label_probs - share, dtype)
    # A few entries are changed in place, after they have been read.
    with tf.control_dependencies([label_errors]):
        errors = tf.cast(tf.identity(probabilities), dtype)
    rows = tf.range(tf.shape(labels)[0], dtype=labels.dtype)  # [tokens]
    index = tf.stack([rows, labels], axis=1)  # [tokens, 2]
    return tf.tensor_scatter_nd_update(errors, index, label_errors)


def _subtract_labels_xla(probabilities, labels, _, share, dtype):
    """Return what `_subtract_labels_cpu` returns, without a scatter."""
    vocabulary = tf.range(probabilities.shape[-1], dtype=labels.dtype)  # [vocabulary]
    hits = vocabulary[tf.newaxis] == labels[:, tf.newaxis]  # [tokens, vocabulary]
    # By where, since a factor of 1 would be an operation more.
    return tf.cast(probabilities - tf.where(hits, share, 0.0), dtype)


class Ops:
    """The model's parts that are computed in another way on another device.

    Args:
        attend: `attention.attend_cpu` or `attention.attend_xla`.
        compile_piece: turns an elementwise function into the one that is called.
        subtract_labels: `_subtract_labels_cpu` or `_subtract_labels_xla`.
        has_dynamic_shapes: whether the number of predicted tokens may vary.
    """

    def __init__(
        self,
        attend: Callable[..., tf.Tensor],
        compile_piece: Callable[[Callable], Callable],
        subtract_labels: Callable[..., tf.Tensor],
        has_dynamic_shapes: bool,
    ):
        self.has_dynamic_shapes = has_dynamic_shapes
        self.attend = attend
        self._subtract_labels = subtract_labels
        self._dropout = compile_piece(_dropout)
        self._add_norm_forward = compile_piece(_add_norm_forward)
        self._add_norm_backward = compile_piece(_add_norm_backward)
        self._bias_gelu_forward = compile_piece(_bias_gelu_forward)
        self._bias_gelu_backward = compile_piece(_bias_gelu_backward)
        self._add_bias = compile_piece(_add_bias)

    def dropout(self, x: tf.Tensor, seed: tf.Tensor | None, rate: float) -> tf.Tensor:
        """Return x, of any shape, with entries dropped, see `dropout.draw_mask`."""
        if seed is None or rate == 0:
            return x

        @tf.custom_gradient
        def apply(x):
            # The backward pass draws the same mask again, from the same seed.
            return self._dropout(x, seed, rate), lambda dy: self._dropout(
                dy, seed, rate
            )

        return apply(x)

    def add_layer_norm(
        self,
        x: tf.Tensor,
        bias: tf.Tensor,
        residual: tf.Tensor,
        norm: NormWeights,
        seed: tf.Tensor | None,
        rate: float,
        epsilon: float,
    ) -> tf.Tensor:
        """Return LayerNorm(residual + dropout(x + bias)).

        LayerNorm: Ba et al., 2016 (https://arxiv.org/abs/1607.06450).

        Args:
            x: compute dtype [..., hidden].
            bias: float32 [hidden].
            residual: like x.
            norm: weights of the LayerNorm.
            seed: seed of the dropout, or None for no dropout.
            rate: share that is dropped.
            epsilon: added to the variance.

        Returns:
            Like x.
        """
        seed = seed if rate else None

        @tf.custom_gradient
        def apply(x, bias, residual, gamma, beta):
            y, kept = self._add_norm_forward(
                x, bias, residual, NormWeights(gamma, beta), seed, rate, epsilon
            )

            def grad(dy):
                return self._add_norm_backward(dy, kept, gamma, rate)

            return y, grad

        return apply(x, bias, residual, *norm)

    def bias_gelu(self, x: tf.Tensor, bias: tf.Tensor, approximate: bool) -> tf.Tensor:
        """Return GELU(x + bias).

        Hendrycks and Gimpel, 2016 (https://arxiv.org/abs/1606.08415).

        Args:
            x: compute dtype [..., size].
            bias: float32 [size].
            approximate: by the tanh approximation, else by the error function.

        Returns:
            Like x.
        """

        @tf.custom_gradient
        def apply(x, bias):
            def grad(dy):
                return self._bias_gelu_backward(dy, x, bias, approximate)

            return self._bias_gelu_forward(x, bias, approximate), grad

        return apply(x, bias)

    def sum_masked_lm(
        self,
        hidden: tf.Tensor,
        table: tf.Tensor,
        bias: tf.Tensor,
        labels: tf.Tensor,
        weights: tf.Tensor,
        soft_targets: SoftTargets | None = None,
    ) -> MaskedLmSums:
        """Add up the cross entropy and the right predictions of masked tokens.

        With a teacher the objective is (1 - share) * the cross entropy of the labels +
        share * that of the teacher's probabilities (Hinton et al., 2015, "Distilling
        the Knowledge in a Neural Network", https://arxiv.org/abs/1503.02531, at
        temperature 1).

        The weights never scale the gradient of the logits; they scale the hidden
        states, which are a hundred times smaller.

        Args:
            hidden: compute dtype [tokens, hidden], after the head's transformation.
            table: compute dtype [vocabulary, hidden], the token embeddings.
            bias: float32 [vocabulary].
            labels: int32 [tokens].
            weights: float32 [tokens].
            soft_targets: of a teacher; None for the labels alone.
        """

        @tf.custom_gradient
        def apply(hidden, table, bias):
            logits = tf.matmul(hidden, table, transpose_b=True)  # [tokens, vocabulary]
            logits = self._add_bias(logits, bias)
            probabilities = tf.nn.softmax(logits)
            highest = tf.reduce_max(probabilities, axis=-1)  # [tokens]
            label_probs = tf.gather(probabilities, labels, batch_dims=1)  # [tokens]
            right = float32(label_probs >= highest)
            # A probability too small for float32 counts as the smallest float32, so
            # that such a loss is 87 and not infinite; its gradient is exact either way.
            losses = -tf.math.log(
                tf.where(label_probs == 0, _SMALLEST_FLOAT32, label_probs)
            )
            objectives, share = losses, 1.0
            if soft_targets is not None:
                objectives = _mix_losses(losses, logits, labels, soft_targets)
                share = 1.0 - soft_targets.share
                probabilities -= soft_targets.share * soft_targets.probabilities
                label_probs = tf.gather(probabilities, labels, batch_dims=1)
            with tf.control_dependencies([right]):
                errors = self._subtract_labels(
                    probabilities, labels, label_probs, share, hidden.dtype
                )  # Like logits.

            def grad(dobjective, *_):
                factors = (dobjective * weights)[:, tf.newaxis]  # [tokens, 1]
                weighted = tf.cast(float32(hidden) * factors, hidden.dtype)
                dhidden = float32(tf.matmul(errors, table)) * factors  # Like hidden.
                factors = tf.cast(factors, errors.dtype)
                dbias = tf.matmul(errors, factors, transpose_a=True)  # [vocabulary, 1]
                return (
                    tf.cast(dhidden, hidden.dtype),
                    tf.matmul(errors, weighted, transpose_a=True),  # Like table.
                    float32(dbias[:, 0]),  # [vocabulary]
                )

            each = objectives, losses, right
            return tuple(tf.reduce_sum(values * weights) for values in each), grad

        return MaskedLmSums(*apply(hidden, table, bias))


def _mix_losses(losses, logits, labels, soft_targets):
    """Return each token's objective, float32 [tokens], see `Ops.sum_masked_lm`.

    Args:
        losses: float32 [tokens], the cross entropy of the labels.
        logits: float32 [tokens, vocabulary].
        labels: int32 [tokens].
        soft_targets: `SoftTargets`.
    """
    # log sum exp of the logits, since losses = that - the label's logit.
    normalizers = losses + tf.gather(logits, labels, batch_dims=1)  # [tokens]
    expected = tf.reduce_sum(soft_targets.probabilities * logits, -1)  # [tokens]
    soft_losses = normalizers - expected
    return losses + soft_targets.share * (soft_losses - losses)


CPU = Ops(attention.attend_cpu, compile_loop, _subtract_labels_cpu, True)
XLA = Ops(attention.attend_xla, lambda piece: piece, _subtract_labels_xla, False)

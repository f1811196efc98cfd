"""Small pieces of arithmetic that `attention` and `fused_ops` share."""

from collections.abc import Callable

import tensorflow as tf

# XLA keeps the order of a sum, so that one long row is a chain of dependent additions.
# This many sums side by side fill a vector register instead.
_LANES = 16


def compile_loop(function: Callable) -> Callable:
    """Return an elementwise function that XLA compiles into one loop.

    The TensorFlow of a TPU VM cannot do this for its CPU, see
    `training.environment.has_compiler_for_cpu`.
    """
    return tf.function(function, jit_compile=True, autograph=False)


def float32(x: tf.Tensor) -> tf.Tensor:
    """Return x as float32."""
    return tf.cast(x, tf.float32)


def row_sum(x: tf.Tensor) -> tf.Tensor:
    """Return sums over the last axis: [..., size] -> [..., 1]."""
    if x.shape.is_fully_defined() and x.shape[-1] % _LANES == 0:
        x = tf.reshape(x, (*x.shape[:-1], -1, _LANES))  # [..., size / 16, 16]
        x = tf.reduce_sum(x, axis=-2)  # [..., 16]
    return tf.reduce_sum(x, axis=-1, keepdims=True)  # [..., 1]


def row_mean(x: tf.Tensor) -> tf.Tensor:
    """Return means over the last axis: [..., size] -> [..., 1]."""
    return row_sum(x) / x.shape[-1]


def column_sum(x: tf.Tensor) -> tf.Tensor:
    """Return sums over all axes but the last: [..., size] -> [size]."""
    return tf.reduce_sum(x, axis=list(range(x.shape.rank - 1)))

"""Compute a layer again in the backward pass instead of keeping its activations.

Chen et al., 2016 (https://arxiv.org/abs/1604.06174).

`tf.recompute_grad` does this if TensorFlow runs one op after the other. If XLA compiles
the whole step, as on a TPU, it saves nothing: it ties the second computation to the
arriving gradient by `where(x == x, 0, nan)`; XLA folds that to 0, finds the same
computation twice and keeps the results of the first.
"""

from collections.abc import Callable

import tensorflow as tf


def recompute(
    function: Callable[..., tf.Tensor],
    x: tf.Tensor,
    seeds: tuple[tf.Tensor | None, ...],
    *weights: tf.Tensor,
) -> tf.Tensor:
    """Return `function(x, seeds, *weights)`; keep only its arguments for the gradient.

    Args:
        function: returns one tensor; differentiable by x and by the weights.
        x: floating-point, any shape.
        seeds: int32 [2] each, or None; the second computation draws the same masks.
        *weights: floating-point, any shape.
    """

    @tf.custom_gradient
    def apply(x, *weights):
        def grad(dy):
            later_x, later_seeds = _wait_for(dy, x, seeds)
            with tf.GradientTape() as tape:
                tape.watch((later_x, *weights))
                y = function(later_x, later_seeds, *weights)
            return tape.gradient(y, (later_x, *weights), dy)

        return function(x, seeds, *weights), grad

    return apply(x, *weights)


def _wait_for(dy, x, seeds):
    """Return x and the seeds unchanged, but in a way that they depend on dy.

    A zero that is computed from dy is added. No compiler can fold it: the smaller of
    |dy| and 0 is NaN if dy is NaN. (A NaN in dy spoils the update anyway.)
    """
    zero = tf.minimum(tf.abs(tf.reshape(dy, [-1])[0]), 0)  # Scalar.
    later_seeds = tuple(
        None if seed is None else seed + tf.cast(zero, seed.dtype) for seed in seeds
    )
    return x + tf.cast(zero, x.dtype), later_seeds

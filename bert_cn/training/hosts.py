"""Decisions that the processes of one training run must make alike.

Signals and clocks differ between hosts, but what follows from them must not: a host
that stops alone leaves the others waiting for its gradients. With one process each
answer is that of this process; with several, all of them must ask at the same point.
"""

import tensorflow as tf


def agree_any(strategy: tf.distribute.Strategy, flag: bool) -> bool:
    """Return whether the flag is set in any of the processes that train together."""
    if not _has_others(strategy):
        return flag
    return float(_add_up(strategy, tf.constant(flag, tf.float64))) > 0


def have_same(strategy: tf.distribute.Strategy, value: int) -> bool:
    """Return whether all processes that train together have the same number."""
    if not _has_others(strategy):
        return True
    total = float(_add_up(strategy, tf.constant(value, tf.float64)))
    return not agree_any(strategy, total != value * strategy.num_replicas_in_sync)


def average(strategy: tf.distribute.Strategy, value: float) -> float:
    """Return the mean of the numbers of all processes that train together."""
    if not _has_others(strategy):
        return value
    total = _add_up(strategy, tf.constant(value, tf.float64))
    return float(total) / strategy.num_replicas_in_sync


def _has_others(strategy) -> bool:
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


@tf.function
def _add_up(strategy, value: tf.Tensor) -> tf.Tensor:
    # The sum must know on which device the value is, so each replica copies it.
    copies = strategy.run(lambda: tf.identity(value))
    return strategy.reduce(tf.distribute.ReduceOp.SUM, copies, axis=None)

"""What several hosts decide together."""

import tensorflow as tf


class Agreement:
    """Says whether a flag is set in any of the processes that train together.

    Signals and clocks differ between hosts, but what follows from them must not: a host
    that stops alone leaves the others waiting for its gradients. All of them must ask
    at the same point.

    Args:
        strategy: under which they train; with one process the flag is the answer.
    """

    def __init__(self, strategy: tf.distribute.Strategy):
        self._strategy = strategy

    def __call__(self, flag: bool) -> bool:
        """Return whether the flag is set here or elsewhere."""
        if not self._has_others():
            return flag
        return float(self._add_up(tf.constant(flag, tf.float64))) > 0

    def on(self, value: int) -> bool:
        """Return whether all processes have the same number."""
        if not self._has_others():
            return True
        total = float(self._add_up(tf.constant(value, tf.float64)))
        return not self(total != value * self._strategy.num_replicas_in_sync)

    def _has_others(self) -> bool:
        return isinstance(self._strategy, tf.distribute.MultiWorkerMirroredStrategy)

    @tf.function
    def _add_up(self, value: tf.Tensor) -> tf.Tensor:
        # A copy is on the replica's device, which the sum must know.
        copies = self._strategy.run(lambda: tf.identity(value))
        return self._strategy.reduce(tf.distribute.ReduceOp.SUM, copies, axis=None)

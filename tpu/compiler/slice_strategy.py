"""A strategy that traces the step of one replica of a slice, without its devices.

It takes the place of TPUStrategy, which needs a TPU, but only for lowering:
`all_reduce` becomes XLA's all-reduce over all replicas, and the replica's number is
only known on the device. Nothing can be run under it.
"""

import tensorflow as tf
from tensorflow.compiler.tf2xla.ops import gen_xla_ops
from tensorflow.python.distribute import distribute_lib


class SliceStrategy(tf.distribute.Strategy):
    """Stands for `num_replicas` devices."""

    def __init__(self, num_replicas: int):
        super().__init__(_SliceExtended(self, num_replicas))

    def trace_replica(self, function, *arguments):
        """Call `function` as one replica would; for use inside a tf.function."""
        number = tf.cast(gen_xla_ops.xla_replica_id(), tf.int32)
        with self.scope(), tf.distribute.ReplicaContext(self, number):
            return function(*arguments)


class _SliceExtended(distribute_lib._DefaultDistributionExtended):
    def __init__(self, strategy: SliceStrategy, num_replicas: int):
        super().__init__(strategy)
        self._num_replicas = num_replicas

    @property
    def _num_replicas_in_sync(self) -> int:
        return self._num_replicas

    def _scope(self, strategy):
        # The default strategy's own scope counts as no scope.
        return distribute_lib.StrategyExtendedV1._scope(self, strategy)

    def _create_variable(self, next_creator, **kwargs):
        return next_creator(**kwargs)

    def _reduce_to(self, reduce_op, value, destinations, options):
        if reduce_op != tf.distribute.ReduceOp.SUM:
            raise ValueError(
                f"A slice's step reduces by sums alone. Received: {reduce_op}."
            )
        everyone = [list(range(self._num_replicas))]
        return gen_xla_ops.xla_all_reduce(value, everyone, "Add", "CrossReplica")

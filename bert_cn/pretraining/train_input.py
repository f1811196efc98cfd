"""The batches of a training run: distributed, and found again by their step."""

import os

import tensorflow as tf

from bert_cn.pretraining import input_pipeline
from bert_cn.training import strategy as strategy_lib


class TrainInput:
    """The training batches of a run, found again by the number of their step.

    Args:
        strategy: that the batches are distributed by.
        files: from `input_pipeline.check_files`.
        batch_size: records per update over all replicas.
        seed: see `input_pipeline.build_train_dataset`.
    """

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        files: input_pipeline.RecordFiles,
        batch_size: int,
        seed: int,
    ):
        self._strategy = strategy
        self._files = files
        self._batch_size = batch_size
        self._seed = seed
        self._num_hosts = 1

    def distribute(self, step: int):
        """Return the distributed batches of the updates after the first `step`."""

        def build(context: tf.distribute.InputContext) -> tf.data.Dataset:
            self._num_hosts = context.num_input_pipelines
            return input_pipeline.build_train_dataset(
                self._files,
                context.get_per_replica_batch_size(self._batch_size),
                self._seed,
                step * self._batch_size // self._num_hosts,
                context.input_pipeline_id,
                self._num_hosts,
            )

        return self._strategy.distribute_datasets_from_function(build)

    def locate(self, step: int) -> list[tuple[str, int]]:
        """Find the records of update number `step`, the first being 1, by replay.

        Returns:
            File and number of each record, counted from 1 as
            `data_prep.inspect_records` does.
        """
        records_per_host = self._batch_size // self._num_hosts
        found = []
        for host in range(self._num_hosts):
            order = input_pipeline.read_in_order(
                self._files,
                self._seed,
                (step - 1) * records_per_host,
                host,
                self._num_hosts,
                _number_records,
            )
            found += order.take(records_per_host).as_numpy_iterator()
        return sorted((path.decode(), int(number)) for path, number in found)


def count_hosts(strategy: tf.distribute.Strategy) -> int:
    """Return how many hosts read input, each its own share."""
    resolver = strategy.cluster_resolver
    if resolver is None or not os.environ.get("TF_CONFIG"):
        return len(strategy_lib.list_hosts(strategy))
    jobs = resolver.cluster_spec().as_dict()
    return sum(len(jobs.get(job, ())) for job in ("chief", "worker"))


def _number_records(path: tf.Tensor) -> tf.data.Dataset:
    records = tf.data.TFRecordDataset(path)
    return records.enumerate(1).map(lambda number, _: (path, number))

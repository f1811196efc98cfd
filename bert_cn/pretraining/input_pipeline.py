"""TFRecords to batches by tf.data: deterministic, and each host reads its share."""

import numpy as np
import tensorflow as tf

from bert_cn.pretraining import eval_metrics, record_files, shuffle_order
from bert_cn.training import storage_checks
from bert_cn.training import strategy as strategy_lib
from data_prep.records import compact_parsing, schema

# Decides the masks of an evaluation on records that are stored unmasked.
_EVAL_MASK_SEED = 0
# Records that the frequencies of masked tokens are counted in.
_COUNTED_BATCH, _COUNTED_BATCHES = 512, 64


class TrainInput:
    """The training batches of a run, which a step's number finds again.

    It prints a warning if hosts must share files.

    Args:
        strategy: distributes the batches.
        files: from `record_files.check_files`.
        batch_size: records per update over all replicas.
        seed: see `build_train_dataset`.
    """

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        files: record_files.RecordFiles,
        batch_size: int,
        seed: int,
    ):
        self._strategy = strategy
        self.files = files
        self._batch_size = batch_size
        self._seed = seed
        self._num_hosts = 1
        for group in files.groups:
            storage_checks.warn_of_few_files(
                strategy_lib.count_hosts(strategy), group.paths
            )

    def distribute(self, step: int):
        """Return the distributed batches of the updates after the first `step`."""

        def build(context: tf.distribute.InputContext) -> tf.data.Dataset:
            self._num_hosts = context.num_input_pipelines
            return build_train_dataset(
                self.files,
                context.get_per_replica_batch_size(self._batch_size),
                self._seed,
                step * self._batch_size // self._num_hosts,
                context.input_pipeline_id,
                self._num_hosts,
            )

        return self._strategy.distribute_datasets_from_function(build)

    def locate(self, step: int) -> list[tuple[str, int]]:
        """Find the records of update number `step`, from 1, by reading in order again.

        Returns:
            File and number of each record. Numbers start with 1, as those of
            `data_prep.inspect_records` do.
        """
        records_per_host = self._batch_size // self._num_hosts
        found = []
        for host in range(self._num_hosts):
            order = read_in_order(
                self.files,
                self._seed,
                (step - 1) * records_per_host,
                host,
                self._num_hosts,
                self._number_records,
            )
            found += order.take(records_per_host).as_numpy_iterator()
        return sorted((path.decode(), int(number)) for path, number in found)

    def _number_records(self, path: tf.Tensor) -> tf.data.Dataset:
        records = self.files.open(path)
        return records.enumerate(1).map(lambda number, _: (path, number))


def build_train_dataset(
    files: record_files.RecordFiles,
    batch_size: int,
    seed: int,
    skip_records: int = 0,
    host: int = 0,
    num_hosts: int = 1,
) -> tf.data.Dataset:
    """Build an endless, shuffled dataset whose order depends only on the arguments.

    Args:
        files: from `record_files.check_files`.
        batch_size: records per batch of this host.
        seed: decides the order of files and records. Records that are masked here get
            other masks in each epoch, from (seed, number in the endless order).
        skip_records: records that this host has already trained on; a resumed run
            continues after them.
        host: index of this input pipeline.
        num_hosts: number of input pipelines. Files are distributed over them, or
            records if there are fewer files than hosts.

    Returns:
        Batches as `_parse` makes them.
    """
    dataset = read_in_order(files, seed, skip_records, host, num_hosts)
    if files.masker is not None:
        numbered = dataset.enumerate(skip_records)
        dataset = _add_noise(numbered, files, seed, host, num_hosts)
    dataset = dataset.batch(batch_size, drop_remainder=True)
    return _parse(dataset, files).prefetch(tf.data.AUTOTUNE)


def count_masked_tokens(
    files: record_files.RecordFiles, vocab_size: int, seed: int
) -> np.ndarray:
    """Count which tokens are to be predicted, in a sample of the training records.

    Args:
        files: from `check_files`.
        vocab_size: tokens in the vocabulary.
        seed: of the records' order; the sample is the first 32,768 of it.

    Returns:
        int64 [vocab_size].
    """
    counts = np.zeros(vocab_size, np.int64)
    batches = build_train_dataset(files, _COUNTED_BATCH, seed)
    for batch in batches.take(_COUNTED_BATCHES):
        is_masked = batch[schema.MASKED_LM_WEIGHTS].numpy() > 0
        tokens = batch[schema.MASKED_LM_IDS].numpy()[is_masked]
        counts += np.bincount(tokens, minlength=vocab_size)
    return counts


def read_in_order(
    files: record_files.RecordFiles,
    seed: int,
    skip_records: int,
    host: int,
    num_hosts: int,
    open_file: shuffle_order.OpenFile | None = None,
) -> tf.data.Dataset:
    """Return this host's records without end, see `shuffle_order`.

    Args:
        files: from `record_files.check_files`.
        seed: decides the order of files and records.
        skip_records: records to leave out at the start.
        host: index of this input pipeline.
        num_hosts: number of input pipelines.
        open_file: what to return of each file; by default its records.
    """
    shards = files.shards
    groups = [
        shuffle_order.GroupOrder(
            group.paths,
            tuple(shards.get(path, {}).get("sequences") for path in group.paths),
            seed,
            host,
            num_hosts,
            open_file or files.open,
        )
        for group in files.groups
    ]
    weights = [group.weight for group in files.groups]
    return shuffle_order.read_groups(groups, weights, seed, skip_records)


def build_eval_dataset(
    files: record_files.RecordFiles, batch_size: int
) -> tf.data.Dataset:
    """Build a dataset that holds every record once, in file order.

    The last batch is filled up with records of zeros, so that every batch has the same
    shape; their input_mask and masked_lm_weights are 0. Records that are masked here
    get the same masks in each evaluation. Each batch also has the feature that
    `eval_metrics.mark_groups` returns.
    """
    dataset = files.open(list(files.paths))
    if files.masker is not None:
        dataset = _add_noise(dataset.enumerate(), files, _EVAL_MASK_SEED)
    dataset = _parse(dataset.batch(batch_size), files, mark_groups=True)

    def fill_up(batch):
        missing = batch_size - tf.shape(batch[schema.INPUT_IDS])[0]
        return {
            name: tf.ensure_shape(
                tf.pad(value, [[0, missing], [0, 0]]), (batch_size, value.shape[1])
            )
            for name, value in batch.items()
        }

    return dataset.map(fill_up).prefetch(tf.data.AUTOTUNE)


def _add_noise(
    dataset: tf.data.Dataset,
    files: record_files.RecordFiles,
    seed: int,
    host: int = 0,
    num_hosts: int = 1,
) -> tf.data.Dataset:
    """Turn (number on this host, record) into (record, noise, share to mask)."""

    def draw(number, record):
        number = number * num_hosts + host
        seeds = tf.stack([tf.constant(seed, tf.int64), number])
        noise = files.masker.draw_noise(files.max_seq_length, seeds)
        return record, noise, files.masker.choose_rate(number)

    return dataset.map(draw, num_parallel_calls=2, deterministic=True)


def _parse(
    dataset: tf.data.Dataset, files: record_files.RecordFiles, mark_groups: bool = False
) -> tf.data.Dataset:
    """Turn batches of serialized records into features under our names.

    If records are masked here, a batch is (serialized records, noise, rates).

    Integers become int32, because TPUs compute no int64. Each feature is
    [batch, ...shape of `schema.feature_shapes`]; records of several sequences have
    `schema.PART_FEATURES`, too, see `compact_parsing.parse`.
    """
    masker = files.masker
    on_disk = schema.RECORD_NAMES[files.feature_names]

    def parse_masked(records):
        parsed = tf.io.parse_example(
            records, schema.parsing_spec(*files.shape, files.feature_names)
        )
        return {
            name: parsed[on_disk[name]]
            if name in schema.FLOAT_FEATURES
            else tf.cast(parsed[on_disk[name]], tf.int32)
            for name in schema.FEATURES
        }

    def parse_batch(records, noise=None, rates=None):
        if masker is None:
            masked, word_ids = parse_masked(records), None
        else:
            features = compact_parsing.parse(
                records, files.max_seq_length, files.vocab_size, files.pack_sequences
            )
            masked = masker.mask(features, noise, rates)
            word_ids = features[schema.WORD_IDS]
        if mark_groups:
            masked |= eval_metrics.mark_groups(masked, word_ids)
        return masked

    return dataset.map(parse_batch, num_parallel_calls=2, deterministic=True)

"""The order in which training reads records, and the place in it of a resumed run.

The order lets a resumed run leave out the records before its place without reading
them. An epoch shuffles the files of a group and cuts them into windows of a few whole
files; the records of a window are interleaved and shuffled among themselves. So a
resumed run skips, in this order:
1. whole epochs,
2. whole windows of the epoch that it stopped in, by the number of records in their
   files; none of these files is opened if manifests give the numbers,
3. records of the window that it stopped in, read but not parsed.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf

_FILES_READ_AT_ONCE = 4
_SHUFFLE_BUFFER_RECORDS = 10_000
# Draws between groups come in shuffled blocks of about this many, in which the shares
# are exact, so that counting the draws from a group takes a look at one block only.
_BLOCK_DRAWS = 10_000


# Takes a path, a string scalar; returns one element for each record of the file.
OpenFile = Callable[[tf.Tensor], tf.data.Dataset]


@dataclasses.dataclass(frozen=True)
class GroupOrder:
    """The endless order of one group's records on one host.

    Attributes:
        paths: record files, at least one.
        counts: records of each file; None if unknown, and then counted when needed.
        seed: epoch e shuffles the files by (seed, e).
        host: index of this input pipeline.
        num_hosts: number of input pipelines. Files are distributed over them, or the
            records of every file if there are fewer files than hosts.
        open_file: see `OpenFile`.
    """

    paths: tuple[str, ...]
    counts: tuple[int | None, ...]
    seed: int
    host: int = 0
    num_hosts: int = 1
    open_file: OpenFile = tf.data.TFRecordDataset

    @property
    def _distributes_files(self) -> bool:
        return len(self.paths) >= self.num_hosts

    @property
    def _num_files(self) -> int:
        """Files that this host reads in an epoch."""
        if not self._distributes_files:
            return len(self.paths)
        return len(range(self.host, len(self.paths), self.num_hosts))

    @property
    def _files_per_window(self) -> int:
        """Files per window: those that are read at once, or more to fill the buffer."""
        if None in self.counts:
            return _FILES_READ_AT_ONCE
        share = 1 if self._distributes_files else self.num_hosts
        records_per_file = max(sum(self.counts) / len(self.counts) / share, 1)
        filling = int(np.ceil(_SHUFFLE_BUFFER_RECORDS / records_per_file))
        return max(_FILES_READ_AT_ONCE, filling)

    @property
    def _num_windows(self) -> int:
        return -(-self._num_files // self._files_per_window)

    def _list_files(self, epoch, window) -> tf.Tensor:
        """Return the indices into `paths` of a window's files, int32 [files]."""
        order = tf.random.experimental.stateless_shuffle(
            tf.range(len(self.paths)),
            seed=tf.stack([tf.constant(self.seed, tf.int64), epoch]),
        )
        if self._distributes_files:
            order = order[self.host :: self.num_hosts]
        begin = window * self._files_per_window
        return order[begin : begin + self._files_per_window]

    def read(self, skip_records: int) -> tf.data.Dataset:
        """Build the endless dataset, without its first `skip_records` records."""
        epoch, window, rest = self.find_position(skip_records)
        windows = tf.data.Dataset.counter(epoch).flat_map(
            lambda epoch: tf.data.Dataset.range(self._num_windows).map(
                lambda window: (epoch, window)
            )
        )

        def read_window(epoch, window):
            paths = tf.gather(self.paths, self._list_files(epoch, window))
            records = tf.data.Dataset.from_tensor_slices(paths).interleave(
                self.open_file,
                cycle_length=_FILES_READ_AT_ONCE,
                num_parallel_calls=_FILES_READ_AT_ONCE,
                deterministic=True,
            )
            if not self._distributes_files:
                records = records.shard(self.num_hosts, self.host)
            # Each window of a run draws differently; runs with one seed draw alike.
            numbers = tf.stack(
                [tf.constant(self.seed, tf.int64), epoch * self._num_windows + window]
            )
            seed = tf.random.stateless_uniform((), numbers, None, None, tf.int64)
            # This function's own graph gets a seed. Otherwise `shuffle` would mix in
            # TensorFlow's global one, and fail if that is 0 (it compares a tensor with
            # 0).
            tf.compat.v1.set_random_seed(1)
            return records.shuffle(
                _SHUFFLE_BUFFER_RECORDS, seed=seed, reshuffle_each_iteration=False
            )

        return windows.skip(window).flat_map(read_window).skip(rest)

    def find_position(self, skip_records: int) -> tuple[int, int, int]:
        """Return the epoch, the window in it, and the records of that to skip."""
        counts = list(self.counts)
        epoch = 0
        while True:
            for window in range(self._num_windows):
                # A new run has no file to count.
                if not skip_records:
                    return epoch, window, 0
                size = 0
                for index in self._list_files(np.int64(epoch), window).numpy():
                    if counts[index] is None:
                        counts[index] = self._count_records(self.paths[index])
                    size += counts[index]
                if not self._distributes_files:
                    size = len(range(self.host, size, self.num_hosts))
                if skip_records < size:
                    return epoch, window, skip_records
                skip_records -= size
            epoch += 1

    def _count_records(self, path: str) -> int:
        records = self.open_file(path)
        return int(records.reduce(np.int64(0), lambda count, *_: count + 1))


def read_groups(
    groups: list[GroupOrder],
    weights: list[float],
    seed: int,
    skip_records: int,
) -> tf.data.Dataset:
    """Draw each record from one of the groups, endlessly.

    Args:
        groups: of one host.
        weights: the share of each group's records, in proportion to the others.
        seed: of the draws.
        skip_records: records of the mixed order to leave out at the start.
    """
    if len(groups) == 1:
        return groups[0].read(skip_records)
    shares = np.array(weights) / sum(weights) * _BLOCK_DRAWS
    draws = np.maximum(np.rint(shares), 1).astype(np.int64)
    block = tf.constant(np.repeat(np.arange(len(groups)), draws))

    def shuffle_block(number):
        return tf.random.experimental.stateless_shuffle(
            block, seed=tf.stack([tf.constant(seed, tf.int64), number])
        )

    whole_blocks, rest = divmod(skip_records, int(draws.sum()))
    begun = shuffle_block(np.int64(whole_blocks)).numpy()[:rest]
    skipped = whole_blocks * draws + np.bincount(begun, minlength=len(groups))
    choices = tf.data.Dataset.counter(whole_blocks).flat_map(
        lambda number: tf.data.Dataset.from_tensor_slices(shuffle_block(number))
    )
    return tf.data.Dataset.choose_from_datasets(
        [group.read(int(count)) for group, count in zip(groups, skipped, strict=True)],
        choices.skip(rest),
    )

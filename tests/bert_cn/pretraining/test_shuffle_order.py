import os

import numpy as np
import pytest
import tensorflow as tf

from bert_cn.pretraining import shuffle_order

SIZES = (3, 5, 4, 6, 2, 7, 3)
TOTAL = sum(SIZES)


@pytest.fixture
def paths(tmp_path) -> tuple[str, ...]:
    """Files of three to seven records; record 23 of the second is "1 23"."""
    paths = []
    for number, size in enumerate(SIZES):
        paths.append(str(tmp_path / f"{number}.tfrecord"))
        with tf.io.TFRecordWriter(paths[-1]) as writer:
            for record in range(size):
                writer.write(f"{number} {record}".encode())
    return tuple(paths)


@pytest.fixture
def small_windows(monkeypatch):
    """Two files a window, though files are few."""
    monkeypatch.setattr(shuffle_order, "_FILES_READ_AT_ONCE", 2)
    monkeypatch.setattr(shuffle_order, "_SHUFFLE_BUFFER_RECORDS", 4)


def take(dataset, number: int) -> list[bytes]:
    return list(dataset.take(number).as_numpy_iterator())


@pytest.mark.parametrize(
    ("counts", "host", "num_hosts"),
    [(SIZES, 0, 1), ((None,) * len(SIZES), 1, 3), (SIZES, 8, 9)],
    ids=["one host", "unknown counts", "fewer files than hosts"],
)
def test_order_from_any_position_is_the_rest_of_the_whole_order(
    paths, small_windows, counts, host, num_hosts
):
    order = shuffle_order.GroupOrder(paths, counts, 5, host, num_hosts)
    whole = take(order.read(0), 3 * TOTAL)
    for skip in (1, 11, TOTAL, 2 * TOTAL + 3):
        assert take(order.read(skip), 20) == whole[skip : skip + 20]


def test_epochs_hold_every_record_once_in_another_order(paths, small_windows):
    order = shuffle_order.GroupOrder(paths, SIZES, 5)
    records = take(order.read(0), 2 * TOTAL)
    first, second = records[:TOTAL], records[TOTAL:]
    every = {f"{n} {r}".encode() for n, size in enumerate(SIZES) for r in range(size)}
    assert set(first) == set(second) == every
    assert first != second
    other_seed = shuffle_order.GroupOrder(paths, SIZES, 6)
    assert take(other_seed.read(0), TOTAL) not in (first, second)


def test_files_of_skipped_windows_are_not_opened(paths, small_windows):
    order = shuffle_order.GroupOrder(paths, SIZES, 5)
    rest = take(order.read(0), TOTAL)
    first_window = order._list_files(np.int64(0), 0).numpy()
    skip = sum(SIZES[index] for index in first_window)
    for index in first_window:
        os.remove(paths[index])
    assert order.find_position(skip) == (0, 1, 0)
    assert take(order.read(skip), TOTAL - skip) == rest[skip:]


def test_window_has_files_enough_to_fill_the_shuffle_buffer(paths, monkeypatch):
    monkeypatch.setattr(shuffle_order, "_SHUFFLE_BUFFER_RECORDS", 25)
    # 30 records in 7 files: 6 of them hold 25.
    assert shuffle_order.GroupOrder(paths, SIZES, 5)._files_per_window == 6
    assert shuffle_order.GroupOrder(paths, SIZES[:-1] + (None,), 5)._num_windows == 2


def test_draws_from_groups_resume_and_keep_their_shares(paths, monkeypatch):
    monkeypatch.setattr(shuffle_order, "_BLOCK_DRAWS", 40)
    groups = [
        shuffle_order.GroupOrder(paths[:1], SIZES[:1], 5),
        shuffle_order.GroupOrder(paths[1:], SIZES[1:], 5),
    ]
    whole = take(shuffle_order.read_groups(groups, [3.0, 1.0], 5, 0), 120)
    for skip in (1, 40, 97):
        found = take(shuffle_order.read_groups(groups, [3.0, 1.0], 5, skip), 20)
        assert found == whole[skip : skip + 20]
    for block in (whole[:40], whole[40:80]):
        assert sum(record.startswith(b"0 ") for record in block) == 30

import pathlib

import numpy as np
import pytest

from data_prep.records import sequences, token_counts


def test_tokens_that_may_be_masked_are_counted():
    ids = np.array([[2, 7, 7, 3, 0], [2, 9, 1, 3, 0]])
    built = sequences.Sequences(
        ids,
        np.zeros_like(ids, np.uint8),
        np.array([4, 4]),
        np.ones_like(ids, bool),
        ids > 4,
    )
    assert token_counts.count_tokens(built) == [0, 0, 0, 0, 0, 0, 0, 2, 0, 1]


def test_counts_come_back_by_file_and_give_the_same_bytes(tmp_path):
    paths = [tmp_path / f"{name}.token_counts.npz" for name in "ab"]
    for path in paths:
        token_counts.write_counts(str(path), [[0, 3], [], [1, 0, 5]], 4)
    found = token_counts.read_counts(str(paths[0]))
    np.testing.assert_array_equal(found, [[0, 3, 0, 0], [0] * 4, [1, 0, 5, 0]])
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_counts_that_are_gone_or_damaged(tmp_path):
    path = tmp_path / "a.token_counts.npz"
    assert token_counts.read_counts(str(path)) is None
    token_counts.write_counts(str(path), [[1, 2]], 2)
    pathlib.Path(path).write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match="make the records again with --overwrite"):
        token_counts.read_counts(str(path))

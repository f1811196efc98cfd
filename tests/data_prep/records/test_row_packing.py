import numpy as np
import pytest

from data_prep.records import row_packing


def pack(lengths, row_length, most, seed=0):
    rng = np.random.default_rng(seed)
    rows = row_packing.pack_rows(np.array(lengths, int), row_length, most, rng)
    assert rows.dtype == np.int64
    assert rows.shape[1] == most
    # Empty places are the last ones.
    assert (np.diff(rows < 0, axis=1).astype(int) >= 0).all()
    return rows


@pytest.mark.parametrize("most", [1, 2, 3, 16])
@pytest.mark.parametrize("seed", range(5))
def test_each_sequence_has_one_place_and_fits(most, seed):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 65, 500)
    rows = pack(lengths, 64, most, seed)
    assert sorted(rows[rows >= 0]) == list(range(500))
    tokens = np.where(rows >= 0, lengths[rows], 0).sum(axis=1)
    assert tokens.max() <= 64
    assert tokens.min() > 0
    if most == 16:
        # No two of more than half a row share one.
        fewest = max(-(-lengths.sum() // 64), (lengths > 32).sum())
        assert len(rows) <= 1.05 * fewest


def test_fewest_rows_of_an_easy_case():
    rows = pack([60, 4, 30, 34, 20, 20, 24], 64, 3)
    assert len(rows) == 3


def test_limit_of_sequences_holds():
    rows = pack([1] * 100, 64, 7)
    assert len(rows) == 15
    assert (rows >= 0).sum(axis=1).max() == 7


def test_rows_depend_on_the_seed_alone():
    lengths = np.random.default_rng(0).integers(1, 65, 300)
    one, again, other = (pack(lengths, 64, 4, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


def test_neither_length_nor_place_in_the_text_decides_the_order():
    lengths = np.arange(2000) % 64 + 1
    rows = pack(lengths, 64, 4)
    first = rows[:, 0]
    halves = np.mean(first[: len(first) // 2]), np.mean(first[len(first) // 2 :])
    assert abs(halves[0] - halves[1]) < 150
    # A row's sequences are not sorted by their lengths.
    two = rows[rows[:, 1] >= 0]
    assert 0.3 < np.mean(lengths[two[:, 0]] > lengths[two[:, 1]]) < 0.7


def test_no_sequences_are_no_rows():
    assert pack([], 64, 4).shape == (0, 4)

import numpy as np
import pytest

from data_prep import masking, sequences


def starts_of(rows: list[list[int]], columns: int) -> np.ndarray:
    """Word starts of rows of words with so many tokens; the rest single."""
    starts = np.ones((len(rows), columns), bool)
    for row, sizes in enumerate(rows):
        place = 0
        for size in sizes:
            starts[row, place + 1 : place + size] = False
            place += size
    return starts


def test_budget_is_googles():
    lengths = np.array([3, 5, 10, 128, 128])
    limits = [20, 20, 20, 20, 5]
    found = [
        masking.count_budgets(lengths[i : i + 1], 0.15, limits[i])[0] for i in range(5)
    ]
    # max(1, round(n * 0.15)), at most the limit; round(1.5) is 2.
    assert found == [1, 1, 2, 19, 5]


def test_rate_of_one_masks_every_word_and_no_special_token():
    starts = starts_of([[1, 2, 2, 1, 3, 1]], 12)
    maskable = np.zeros((1, 12), bool)
    maskable[0, 1:9] = True
    chosen = masking.choose_words(
        starts, maskable, np.array([8]), np.random.default_rng(0)
    )
    np.testing.assert_array_equal(chosen, maskable)


@pytest.fixture(scope="module")
def many():
    rng = np.random.default_rng(7)
    rows = [[1, *rng.choice([1, 2, 3, 4, 6, 8], 60).tolist()] for _ in range(4000)]
    starts = starts_of(rows, 300)[:, :128]
    maskable = np.ones_like(starts)
    maskable[:, 0] = False
    maskable[:, 120:] = False
    # A word that reaches over column 120 is out as a whole.
    first = np.maximum.accumulate(np.where(starts, np.arange(128), 0), axis=1)
    crossing = first == first[:, 120:121]
    maskable &= ~crossing
    budgets = np.full(len(starts), 18)
    chosen = masking.choose_words(starts, maskable, budgets, np.random.default_rng(1))
    return starts, maskable, budgets, chosen


def test_words_are_chosen_whole(many):
    starts, _, _, chosen = many
    inside = ~starts[:, 1:]
    np.testing.assert_array_equal(chosen[:, 1:][inside], chosen[:, :-1][inside])


def test_budget_is_filled_and_never_overshot(many):
    _, maskable, budgets, chosen = many
    assert (chosen.sum(axis=1) <= budgets).all()
    assert (chosen.sum(axis=1) == budgets).mean() > 0.999
    assert not (chosen & ~maskable).any()


def test_long_words_get_their_share(many):
    starts, maskable, _, chosen = many
    lengths = masking._word_lengths(starts)
    candidates = starts & maskable
    share = chosen[maskable].mean()
    for size in (1, 2, 3, 4, 6, 8):
        of_size = candidates & (lengths == size)
        # google-research/bert picks words of six pieces at 0.54 of their share.
        assert 0.8 < chosen[of_size].mean() / share < 1.2, size


def test_excess_is_given_back_in_short_words():
    taken = np.array([[True, True, True, False]])
    sizes = np.array([[1, 2, 4, 1]])
    back = masking._give_back(taken, sizes, np.array([1]))
    assert back.tolist() == [[False, True, True, False]]


def test_word_that_reached_over_goes_where_nothing_evens_out():
    taken = np.array([[True, True, False, False]])
    sizes = np.array([[2, 4, 3, 2]])
    # Budget 5: 2 + 4 is one over; 4 goes, 3 comes.
    back = masking._give_back(taken, sizes, np.array([1]))
    assert back.tolist() == [[True, False, True, False]]


def test_word_longer_than_the_budget_is_left_out():
    starts = starts_of([[5, 1]], 6)
    chosen = masking.choose_words(
        starts, np.ones((1, 6), bool), np.array([2]), np.random.default_rng(0)
    )
    assert chosen.tolist() == [[False] * 5 + [True]]


def test_rows_without_candidates_stay_unmasked():
    starts = np.ones((2, 4), bool)
    chosen = masking.choose_words(
        starts, np.zeros((2, 4), bool), np.array([1, 1]), np.random.default_rng(0)
    )
    assert not chosen.any()


def build(rows: int, vocabulary, columns=40):
    ids = np.full((rows, columns), vocabulary.ids["模"], np.int32)
    return sequences.Sequences(
        ids,
        np.zeros(ids.shape, np.uint8),
        np.full(rows, columns),
        np.ones(ids.shape, bool),
        np.ones(ids.shape, bool),
    )


def test_80_10_10_per_token_from_live_ids_only(make_vocabulary):
    vocabulary = make_vocabulary("[unused1]", "##模", "模", "型", "a", "##b")
    built = build(2000, vocabulary)
    chosen = np.zeros((2000, 40), bool)
    chosen[:, 10:30] = True
    masked = masking.apply_masks(
        built, chosen, 20, vocabulary, np.random.default_rng(0)
    )
    assert (masked.input_ids[~chosen] == vocabulary.ids["模"]).all()
    found = masked.input_ids[chosen]
    live = [vocabulary.ids[token] for token in ("模", "型", "a", "##b")]
    assert set(found.tolist()) == {vocabulary.mask_id, *live}
    assert abs((found == vocabulary.mask_id).mean() - 0.8) < 0.01
    # 10 % kept, and a quarter of the 10 % random draws.
    assert abs((found == vocabulary.ids["模"]).mean() - 0.125) < 0.01
    assert (masked.labels == vocabulary.ids["模"]).all()
    assert masked.positions[0].tolist() == list(range(10, 30))


def test_positions_are_padded_with_zero(make_vocabulary):
    vocabulary = make_vocabulary("模")
    chosen = np.zeros((2, 40), bool)
    chosen[0, [3, 5]] = True
    masked = masking.apply_masks(
        build(2, vocabulary), chosen, 4, vocabulary, np.random.default_rng(0)
    )
    assert masked.positions.tolist() == [[3, 5, 0, 0], [0, 0, 0, 0]]
    assert masked.labels[0].tolist() == [vocabulary.ids["模"]] * 2 + [0, 0]
    assert masked.num_predictions.tolist() == [2, 0]

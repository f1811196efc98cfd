import numpy as np
import pytest

from data_prep.records import masking


def starts_of(rows: list[list[int]], columns: int) -> np.ndarray:
    """Word starts of rows of words with these numbers of tokens; the rest single."""
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
        masking.count_budgets(
            lengths[i : i + 1], masking.MaskingRules(0.15, limits[i])
        )[0]
        for i in range(5)
    ]
    # max(1, round(n * 0.15)), at most the limit; round(1.5) is 2.
    assert found == [1, 1, 2, 19, 5]


def test_rate_of_one_masks_every_word_and_no_special_token():
    starts = starts_of([[1, 2, 2, 1, 3, 1]], 12)
    maskable = np.zeros((1, 12), bool)
    maskable[0, 1:9] = True
    chosen = masking.choose_words(
        starts, maskable, np.array([8]), starts, np.random.default_rng(0)
    )
    np.testing.assert_array_equal(chosen, maskable)


@pytest.fixture(scope="module")
def many():
    rng = np.random.default_rng(7)
    # Shares of word lengths as rjieba finds them in Chinese text, long ones more often.
    shares = [0.47, 0.41, 0.07, 0.03, 0.01, 0.01]
    sizes = rng.choice([1, 2, 3, 4, 6, 8], (4000, 127), p=shares)
    rows = [[1, *row] for row in sizes.tolist()]
    starts = starts_of(rows, 600)[:, :128]
    maskable = np.ones_like(starts)
    maskable[:, 0] = False
    maskable[:, 120:] = False
    # A word that reaches over column 120 is out as a whole.
    first = np.maximum.accumulate(np.where(starts, np.arange(128), 0), axis=1)
    crossing = first == first[:, 120:121]
    maskable &= ~crossing
    budgets = np.full(len(starts), 18)
    rng = np.random.default_rng(1)
    chosen = masking.choose_words(starts, maskable, budgets, starts, rng)
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
        low, high = (0.96, 1.04) if size <= 4 else (0.8, 1.2)
        assert low < chosen[of_size].mean() / share < high, size


def even_out(sizes: list[int], budget: int, stays: bool) -> list[int]:
    """Words left of a row in this order; the crossing word's stay is forced."""

    class Draw:
        def random(self, rows):
            return np.full(rows, 0.0 if stays else 0.999)

    sizes = np.array([sizes])
    room = budget - (np.cumsum(sizes, axis=1) - sizes)
    taken = sizes <= room
    crossing = (room > 0) & (sizes > room)
    kept = masking._even_out(taken, sizes, crossing, room, Draw())
    return np.flatnonzero(kept[0]).tolist()


def test_word_that_crosses_the_budget_stays_and_others_go():
    # 1 + 2 + 4 is two over the budget of 5: 1 goes, 2 is too much; the last one
    # over cannot be given back, so 4 goes and 1 + 1 come.
    assert even_out([1, 2, 4, 1, 1], 5, stays=True) == [0, 1, 3, 4]
    # One over the budget of 6: 1 goes.
    assert even_out([1, 2, 4, 1, 1], 6, stays=True) == [1, 2]


def test_word_that_crosses_the_budget_goes_and_others_come():
    # 2 is missing three: 4 goes, 2 comes, 3 does not fit any more, 1 comes.
    assert even_out([2, 4, 2, 3, 1], 5, stays=False) == [0, 2, 4]
    # Nothing fits: less than the budget, never more.
    assert even_out([2, 4, 4], 5, stays=False) == [0]


def test_runs_have_macberts_lengths_and_end_at_special_tokens():
    starts = np.ones((200, 128), bool)
    starts[:, 5] = False  # a word of two tokens
    maskable = np.ones_like(starts)
    maskable[:, [0, 60]] = False
    runs = masking.join_words(starts, maskable, np.random.default_rng(0))
    assert (runs & ~starts).sum() == 0
    assert runs[:, [0, 1, 60, 61]].all()
    # Between the borders, lengths in words as drawn.
    inner = np.concatenate([np.diff(np.flatnonzero(row[62:110])) for row in runs])
    shares = np.bincount(inner, minlength=5)[1:] / len(inner)
    assert len(shares) == 4
    # Long runs reach over the window's ends a little more often.
    np.testing.assert_allclose(shares, masking.NGRAM_SHARES, atol=0.03)


def test_runs_are_chosen_together():
    starts = np.ones((500, 100), bool)
    runs = np.zeros_like(starts)
    runs[:, ::4] = True
    chosen = masking.choose_words(
        starts, np.ones_like(starts), np.full(500, 15), runs, np.random.default_rng(0)
    )
    sizes = chosen.reshape(500, 25, 4).sum(axis=2)
    # Budget 15: three runs of four, and three words of a fourth from its front.
    assert (np.sort(sizes, axis=1)[:, -5:] == [0, 3, 4, 4, 4]).all()
    front = chosen.reshape(500, 25, 4)[sizes == 3]
    assert (front == [True, True, True, False]).all()


def test_word_longer_than_the_budget_is_left_out():
    starts = starts_of([[5, 1]], 6)
    chosen = masking.choose_words(
        starts, np.ones((1, 6), bool), np.array([2]), starts, np.random.default_rng(0)
    )
    assert chosen.tolist() == [[False] * 5 + [True]]


def test_rows_without_candidates_stay_unmasked():
    starts = np.ones((2, 4), bool)
    chosen = masking.choose_words(
        starts,
        np.zeros((2, 4), bool),
        np.array([1, 1]),
        starts,
        np.random.default_rng(0),
    )
    assert not chosen.any()


def test_80_10_10_per_token_from_live_ids_only(make_vocabulary):
    vocabulary = make_vocabulary("[unused1]", "##模", "模", "型", "a", "##b")
    ids = np.full((2000, 40), vocabulary.ids["模"], np.int32)
    chosen = np.zeros((2000, 40), bool)
    chosen[:, 10:30] = True
    masked = masking.apply_masks(
        ids, chosen, 20, vocabulary, None, np.random.default_rng(0)
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


def test_one_draw_decides_on_a_word_where_mask_unit_is_word(make_vocabulary):
    vocabulary = make_vocabulary("模", "型", "a")
    starts = starts_of([[1, 2, 3, 2]] * 3000, 10)
    chosen = np.zeros(starts.shape, bool)
    chosen[:, 3:8] = True  # the words of three and of two tokens
    ids = np.full(starts.shape, vocabulary.ids["模"], np.int32)
    masked = masking.apply_masks(
        ids, chosen, 5, vocabulary, starts, np.random.default_rng(0)
    )
    is_mask = masked.input_ids[:, 3:8] == vocabulary.mask_id
    first, second = is_mask[:, :3], is_mask[:, 3:]
    assert (first.all(axis=1) == first.any(axis=1)).all()
    assert (second.all(axis=1) == second.any(axis=1)).all()
    assert abs(is_mask.mean() - 0.8) < 0.02
    # The two words are drawn for apart.
    assert (first[:, 0] != second[:, 0]).mean() > 0.25


def test_positions_are_padded_with_zero(make_vocabulary):
    vocabulary = make_vocabulary("模")
    chosen = np.zeros((2, 40), bool)
    chosen[0, [3, 5]] = True
    ids = np.full((2, 40), vocabulary.ids["模"], np.int32)
    masked = masking.apply_masks(
        ids, chosen, 4, vocabulary, None, np.random.default_rng(0)
    )
    assert masked.positions.tolist() == [[3, 5, 0, 0], [0, 0, 0, 0]]
    assert masked.labels[0].tolist() == [vocabulary.ids["模"]] * 2 + [0, 0]
    assert masked.num_predictions.tolist() == [2, 0]

"""One set of rules for both ways of masking: while writing and while training."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from bert_cn.pretraining import dynamic_masking
from data_prep.records import masking, schema, sequences
from data_prep.text import vocab

TOKENS = (
    *("[PAD]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    *("##模", "##ab", "[", *"甲乙丙丁戊己庚辛壬癸"),
)
VOCABULARY = vocab.Vocabulary(TOKENS, "test", b"")
LENGTH, PREDICTIONS = 128, 20
SIZES, SIZE_SHARES = (1, 2, 3, 4, 6, 8), (0.47, 0.41, 0.07, 0.03, 0.01, 0.01)


def mask_while_writing(features, rules, seed):
    word_ids = features[schema.WORD_IDS]
    maskable = word_ids > 0
    starts = ~maskable
    starts[:, 0] = True
    starts[:, 1:] |= word_ids[:, 1:] != word_ids[:, :-1]
    built = sequences.Sequences(
        features[schema.INPUT_IDS],
        features[schema.SEGMENT_IDS],
        features[schema.INPUT_MASK].sum(axis=1),
        starts,
        maskable,
    )
    rng = np.random.default_rng(seed)
    masked = masking.mask_sequences(built, rules, VOCABULARY, rng)
    columns = np.arange(rules.max_predictions_per_seq)
    weights = (columns < masked.num_predictions[:, None]).astype(np.float32)
    return masked.input_ids, masked.positions, masked.labels, weights


@tf.function
def _mask_in_graph(masker, features, seeds):
    noise = tf.map_fn(
        lambda seed: masker.draw_noise(LENGTH, seed),
        seeds,
        fn_output_signature=tf.float32,
    )
    return masker.mask(features, noise)


def mask_while_training(features, rules, seed):
    masker = dynamic_masking.Masker(
        rules, VOCABULARY.mask_id, VOCABULARY.replacement_ids
    )
    seeds = np.stack(
        [
            np.full(len(features[schema.INPUT_IDS]), seed),
            range(len(features[schema.INPUT_IDS])),
        ],
        axis=1,
    )
    tensors = {name: tf.constant(value, tf.int32) for name, value in features.items()}
    masked = _mask_in_graph(masker, tensors, tf.constant(seeds, tf.int64))
    assert set(masked) == set(schema.FEATURES)
    shapes = schema.feature_shapes(LENGTH, rules.max_predictions_per_seq)
    for name, value in masked.items():
        assert tuple(value.shape[1:]) == shapes[name], name
        floating = name in schema.FLOAT_FEATURES
        assert value.dtype == (tf.float32 if floating else tf.int32), name
    for name in (schema.INPUT_MASK, schema.SEGMENT_IDS, schema.NEXT_SENTENCE_LABELS):
        np.testing.assert_array_equal(masked[name], features[name])
    return tuple(
        masked[name].numpy() for name in (schema.INPUT_IDS, *schema.PREDICTION_FEATURES)
    )


@pytest.fixture(scope="module", params=[mask_while_writing, mask_while_training])
def mask(request):
    """(features, rules, seed) -> input_ids, positions, labels, weights."""
    return request.param


def make_features(words: list[list[int]], unknown_share=0.0, length=LENGTH):
    """[CLS] words [SEP] words [SEP]; the sizes of words are numbers of tokens."""
    rng = np.random.default_rng(1)
    rows = len(words)
    word_ids = np.zeros((rows, length), np.int64)
    ids = np.zeros((rows, length), np.int32)
    for row, sizes in enumerate(words):
        place, number = 1, 0
        ids[row, 0] = VOCABULARY.cls_id
        for position, size in enumerate(sizes):
            if position == len(sizes) // 2:
                ids[row, place] = VOCABULARY.sep_id
                place += 1
            span = slice(place, place + size)
            ids[row, span] = rng.integers(9, len(TOKENS), size)
            if rng.random() < unknown_share:
                ids[row, place + size // 2] = VOCABULARY.unk_id
            else:
                number += 1
                word_ids[row, span] = number
            place += size
        ids[row, place] = VOCABULARY.sep_id
    return {
        schema.INPUT_IDS: ids,
        schema.INPUT_MASK: (ids > 0).astype(np.int64),
        schema.SEGMENT_IDS: np.zeros_like(word_ids),
        schema.WORD_IDS: word_ids,
        schema.NEXT_SENTENCE_LABELS: np.arange(rows)[:, None] % 2,
    }


@pytest.fixture(scope="module")
def features():
    """600 sequences of 20 to 125 tokens, words as in Chinese text, some with [UNK]."""
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(600):
        sizes = rng.choice(SIZES, LENGTH, p=SIZE_SHARES)
        most = rng.integers(20, LENGTH - 2)
        rows.append(sizes[: np.searchsorted(np.cumsum(sizes), most, "right")].tolist())
    return make_features(rows, unknown_share=0.05)


def chosen_tokens(positions, weights, length=LENGTH):
    chosen = np.zeros((len(positions), length), bool)
    rows, places = np.nonzero(weights)
    chosen[rows, positions[rows, places]] = True
    return chosen


@dataclasses.dataclass(frozen=True)
class Outcome:
    """600 sequences after masking, and some of their tokens marked."""

    mask_unit: str
    original: np.ndarray
    word_ids: np.ndarray
    ids: np.ndarray
    positions: np.ndarray
    labels: np.ndarray
    weights: np.ndarray

    @property
    def chosen(self) -> np.ndarray:
        return chosen_tokens(self.positions, self.weights)

    @property
    def is_mask(self) -> np.ndarray:
        return self.ids == VOCABULARY.mask_id

    @property
    def same_word(self) -> np.ndarray:
        """True where a token and the next one belong to one maskable word."""
        word_ids = self.word_ids
        return (np.diff(word_ids, axis=1) == 0) & (word_ids[:, 1:] > 0)


@pytest.fixture(scope="module", params=["wwm", "token", "ngram"])
def mode(request):
    return request.param


@pytest.fixture(scope="module", params=masking.MASK_UNITS)
def mask_unit(request):
    return request.param


@pytest.fixture(scope="module")
def outcome(mask, features, mode, mask_unit):
    rules = masking.MaskingRules(0.15, PREDICTIONS, mode, mask_unit)
    masked = mask(features, rules, 3)
    return Outcome(
        mask_unit, features[schema.INPUT_IDS], features[schema.WORD_IDS], *masked
    )


def test_positions_ascend_and_zeros_follow_the_last(outcome):
    positions, weights = outcome.positions, outcome.weights
    assert outcome.chosen.sum() == weights.sum()
    assert (np.diff(weights, axis=1) <= 0).all()
    assert (np.diff(positions, axis=1)[weights[:, 1:] > 0] > 0).all()
    assert not positions[weights == 0].any()
    assert not outcome.labels[weights == 0].any()


def test_labels_are_the_tokens_before_masking(outcome):
    in_use = outcome.weights > 0
    rows, _ = np.nonzero(in_use)
    before = outcome.original[rows, outcome.positions[in_use]]
    np.testing.assert_array_equal(outcome.labels[in_use], before)
    # No special token, no word with [UNK].
    assert (outcome.word_ids[outcome.chosen] > 0).all()


def test_budget_is_filled_and_never_exceeded(outcome):
    lengths = (outcome.original > 0).sum(axis=1)
    budgets = np.clip(np.rint(0.15 * lengths), 1, PREDICTIONS)
    assert (outcome.weights.sum(axis=1) <= budgets).all()
    assert (outcome.weights.sum(axis=1) == budgets).mean() > 0.995


def test_words_are_chosen_whole(outcome):
    chosen, same = outcome.chosen, outcome.same_word
    np.testing.assert_array_equal(chosen[:, 1:][same], chosen[:, :-1][same])


def test_80_10_10_are_masked_replaced_and_kept(outcome):
    ids, original, chosen = outcome.ids, outcome.original, outcome.chosen
    np.testing.assert_array_equal(ids[~chosen], original[~chosen])
    other = chosen & ~outcome.is_mask & (ids != original)
    assert abs(outcome.is_mask[chosen].mean() - 0.8) < 0.025
    # One in twelve live ids is the token itself.
    assert abs(other[chosen].mean() - 0.1 * 11 / 12) < 0.02
    assert set(ids[other].tolist()) == set(VOCABULARY.replacement_ids.tolist())


def test_mask_unit_shares_one_draw(outcome):
    together = outcome.same_word & outcome.chosen[:, 1:]
    is_mask = outcome.is_mask
    differ = is_mask[:, 1:][together] != is_mask[:, :-1][together]
    if outcome.mask_unit == "word":
        assert not differ.any()
    else:
        assert abs(differ.mean() - 2 * 0.8 * 0.2) < 0.04


def test_words_of_each_length_get_their_share(mask):
    rng = np.random.default_rng(5)
    sizes = rng.choice(SIZES, (3000, LENGTH), p=SIZE_SHARES)
    fits = np.cumsum(sizes, axis=1) <= LENGTH - 3
    features = make_features([s[f].tolist() for s, f in zip(sizes, fits, strict=True)])
    _, positions, _, weights = mask(features, masking.MaskingRules(), 1)
    chosen = chosen_tokens(positions, weights)
    word_ids = features[schema.WORD_IDS]
    share = chosen[word_ids > 0].mean()
    counts = np.stack([np.bincount(row, minlength=LENGTH) for row in word_ids])
    size_of = np.take_along_axis(counts, word_ids, axis=1) * (word_ids > 0)
    for size in SIZES:
        low, high = (0.95, 1.05) if size <= 4 else (0.75, 1.25)
        assert low < chosen[size_of == size].mean() / share < high, size


def test_runs_of_words_have_macberts_lengths(mask):
    # Words of one token in a long row: the chosen runs show, where few are chosen.
    features = make_features([[1] * 125] * 3000)
    rules = masking.MaskingRules(0.04, PREDICTIONS, "ngram")  # five of 128 tokens
    _, positions, _, weights = mask(features, rules, 2)
    assert (weights.sum(axis=1) == 5).all()
    chosen = chosen_tokens(positions, weights)
    edges = np.diff(np.pad(chosen, [[0, 0], [1, 1]]).astype(int), axis=1)
    runs = np.nonzero(edges < 0)[1] - np.nonzero(edges > 0)[1]
    shares = np.bincount(runs, minlength=6)[1:] / len(runs)
    # Two runs of a mean length of two fit; the third is cut. So long ones are rarer
    # and short ones more frequent than 40/30/20/10, in this order still.
    assert shares[0] > shares[1] > shares[2] > shares[3] > 0.04
    assert shares[4] < 0.05
    # Far from words drawn alone: one in 25 of them has a chosen neighbour.
    assert shares[0] < 0.6
    # No run contains [SEP], which is never chosen.
    assert not chosen[features[schema.INPUT_IDS] == VOCABULARY.sep_id].any()


def test_rate_of_one_masks_every_word_that_may_be(mask):
    features = make_features([[1, 2, 3], [4, 1, 1]], unknown_share=0.3)
    rules = masking.MaskingRules(1.0, LENGTH)
    _, positions, _, weights = mask(features, rules, 0)
    np.testing.assert_array_equal(
        chosen_tokens(positions, weights), features[schema.WORD_IDS] > 0
    )


def test_seed_decides_the_masks(mask, features):
    rules = masking.MaskingRules()
    first, again, other = (mask(features, rules, seed) for seed in (1, 1, 2))
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert (first[1] != other[1]).any(axis=1).mean() > 0.95


def test_sequence_without_words_stays_as_it_is(mask):
    features = make_features([[2, 1], [1]], unknown_share=1.0)
    ids, positions, _, weights = mask(features, masking.MaskingRules(), 0)
    np.testing.assert_array_equal(ids, features[schema.INPUT_IDS])
    assert not weights.any()
    assert not positions.any()


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_mixed_masks_whole_words_in_its_share_of_sequences(mask, features, share):
    rules = masking.MaskingRules(masking="mixed", whole_word_share=share)
    masked = mask(features, rules, 6)
    outcome = Outcome(
        "token", features[schema.INPUT_IDS], features[schema.WORD_IDS], *masked
    )
    chosen, same = outcome.chosen, outcome.same_word
    in_part = ((chosen[:, 1:] != chosen[:, :-1]) & same).any(axis=1)
    # Single tokens of a long sequence hardly ever come to whole words alone.
    is_long = outcome.weights.sum(axis=1) >= 8
    assert is_long.sum() > 300
    assert abs(in_part[is_long].mean() - (1 - share)) < 0.08
    lengths = (outcome.original > 0).sum(axis=1)
    budgets = np.clip(np.rint(0.15 * lengths), 1, PREDICTIONS)
    assert (outcome.weights.sum(axis=1) <= budgets).all()
    assert (outcome.weights.sum(axis=1) == budgets).mean() > 0.995
    assert (outcome.word_ids[chosen] > 0).all()

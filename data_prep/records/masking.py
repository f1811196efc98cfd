"""Choose tokens and mask them, for many sequences at a time.

Which tokens are masked follows google-research/bert: 15 % of a sequence's tokens, at
least one, at most max_predictions_per_seq; 80 % of the chosen tokens become [MASK],
10 % another token, 10 % stay. A choice takes a whole word, a single token, or MacBERT's
run of one to four words.

Google's rule for a word that no longer fits (skip it and try the next) picks long words
far less often than their share. Here words are taken in random order until the budget
is reached; a draw decides whether the word that crosses it stays, and shorter words
make up for the difference.

`bert_cn/pretraining/dynamic_masking.py` follows the same rules in TensorFlow, while
training.

The golden sentence: 模型 is masked whole; 。 is chosen too and becomes another token.

>>> from tests.data_prep.worked_example import sequences, vocabulary
>>> rules = MaskingRules(max_predictions_per_seq=3)
>>> masked = mask_sequences(sequences, rules, vocabulary, np.random.default_rng(26))
>>> print(*(vocabulary.tokens[token] for token in masked.input_ids[0]))
[CLS] 使 用 语 言 [MASK] [MASK] 来 预 测 下 一 个 词 的 prob ##a ##bility o [SEP]
>>> print(*masked.positions[0], *(vocabulary.tokens[t] for t in masked.labels[0]))
5 6 18 模 型 。
"""

import dataclasses

import numpy as np

from data_prep.records import sequences as sequences_lib
from data_prep.records import similar_words as similar_words_lib
from data_prep.text import vocab

MASKINGS = ("wwm", "token", "ngram", "mixed")
MASK_UNITS = ("token", "word")
MASK_SHARE, KEEP_SHARE = 0.8, 0.1
# Shares of runs of 1, 2, 3 and 4 words (MacBERT, arXiv:2004.13922, section 3).
NGRAM_SHARES = (0.4, 0.3, 0.2, 0.1)
# Further tries for the few sequences whose budget one random order does not fill.
MORE_DRAWS = 4


@dataclasses.dataclass(frozen=True)
class MaskingRules:
    """How sequences are masked.

    Attributes:
        masked_lm_prob: share of tokens to mask.
        max_predictions_per_seq: masked tokens per sequence, at most.
        masking: one of `MASKINGS`, the tokens that are chosen together: those of a
            whole word, single tokens, those of a run of whole words, or, "mixed", whole
            words in some sequences and single tokens in the others (Dai et al., 2022,
            https://arxiv.org/abs/2203.00286).
        mask_unit: one of `MASK_UNITS`, the tokens that share one draw of 80/10/10.
        whole_word_share: with "mixed", the share of sequences whose whole words are
            masked.
    """

    masked_lm_prob: float = 0.15
    max_predictions_per_seq: int = 20
    masking: str = "wwm"
    mask_unit: str = "token"
    whole_word_share: float = 0.5


@dataclasses.dataclass(frozen=True)
class MaskedSequences:
    """Sequences after masking, and their labels.

    Attributes:
        input_ids: int32 [sequences, max_seq_length] after masking.
        positions: int32 [sequences, max_predictions_per_seq], ascending, then 0.
        labels: int32 [sequences, max_predictions_per_seq], the tokens before masking.
        num_predictions: int64 [sequences].
    """

    input_ids: np.ndarray
    positions: np.ndarray
    labels: np.ndarray
    num_predictions: np.ndarray


def mask_sequences(
    sequences: sequences_lib.Sequences,
    rules: MaskingRules,
    vocabulary: vocab.Vocabulary,
    rng: np.random.Generator,
    similar_words: similar_words_lib.SimilarWords | None = None,
) -> MaskedSequences:
    """Choose and mask by the rules.

    Args:
        sequences: before masking. Choices are made among their words, so for masking
            "token" every token is a word (see `sequences.split_words`).
        rules: see `MaskingRules`.
        vocabulary: names [MASK] and the tokens that may replace others.
        rng: the source of every draw.
        similar_words: these take the place of [MASK], and where there is none a random
            token; the tokens of a word then share one draw of 80/10/10.
    """
    word_starts, maskable = sequences.word_starts, sequences.maskable
    budgets = count_budgets(sequences.lengths, rules)
    if rules.masking == "mixed":
        has_tokens = rng.random(len(word_starts)) >= rules.whole_word_share
        word_starts = word_starts | has_tokens[:, None]
    run_starts = word_starts
    if rules.masking == "ngram":
        run_starts = join_words(word_starts, maskable, rng)
    chosen = choose_words(word_starts, maskable, budgets, run_starts, rng)
    is_by_word = rules.mask_unit == "word" or similar_words is not None
    return apply_masks(
        sequences.input_ids,
        chosen,
        rules.max_predictions_per_seq,
        vocabulary,
        word_starts if is_by_word else None,
        rng,
        similar_words,
    )


def leave_unmasked(input_ids: np.ndarray) -> MaskedSequences:
    """Return the sequences with nothing masked and no column for it."""
    none = np.zeros((len(input_ids), 0), np.int32)
    return MaskedSequences(input_ids, none, none, np.zeros(len(input_ids), np.int64))


def count_budgets(lengths: np.ndarray, rules: MaskingRules) -> np.ndarray:
    """Return the number of tokens to mask in each sequence, int64.

    Args:
        lengths: tokens of each sequence, special tokens included as Google counts.
        rules: their share of tokens and upper limit count.
    """
    wanted = np.rint(lengths * rules.masked_lm_prob).astype(np.int64)
    return np.minimum(np.maximum(1, wanted), rules.max_predictions_per_seq)


def join_words(
    word_starts: np.ndarray, maskable: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Join words into runs of one to four, with lengths drawn by `NGRAM_SHARES`.

    Args:
        word_starts: bool [rows, columns].
        maskable: bool [rows, columns]; a run ends where this ends.
        rng: draws the lengths.

    Returns:
        bool [rows, columns], true where a run begins.
    """
    rows, columns = word_starts.shape
    draws = rng.random((rows, columns))
    sizes = 1 + np.searchsorted(np.cumsum(NGRAM_SHARES[:-1]), draws, "right")
    ends = np.cumsum(sizes, axis=1)
    begins_run = np.zeros((rows, columns), bool)
    begins_run[:, 0] = True
    row, run = np.nonzero(ends < columns)
    begins_run[row, ends[row, run]] = True
    word_number = np.cumsum(word_starts, axis=1) - 1
    joined = np.take_along_axis(begins_run, word_number, axis=1)
    joined[:, 1:] |= maskable[:, 1:] & ~maskable[:, :-1]
    return word_starts & (joined | ~maskable)


def choose_words(
    word_starts: np.ndarray,
    maskable: np.ndarray,
    budgets: np.ndarray,
    run_starts: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Choose whole words at random that fill each row's budget of tokens.

    Args:
        word_starts: bool [rows, columns], true where a word begins; column 0 begins
            one.
        maskable: bool [rows, columns], equal over all tokens of a word.
        budgets: int64 [rows], tokens to choose.
        run_starts: bool [rows, columns], true where a run of words begins that is
            taken word after word; `word_starts` itself for words alone.
        rng: draws the order of runs.

    Returns:
        bool [rows, columns], the chosen tokens: never more than the budget, less only
        if there are no words of fitting lengths.
    """
    lengths = _word_lengths(word_starts)
    budgets = budgets.astype(np.int32)
    # A word longer than the whole budget can never be chosen.
    candidates = word_starts & maskable & (lengths <= budgets[:, None])
    runs = None if run_starts is word_starts else _first_columns(run_starts)
    begins = _draw_words(candidates, lengths, budgets, runs, rng)
    for _ in range(MORE_DRAWS):
        # Another order may fill the budget where this one did not.
        short = np.flatnonzero((begins * lengths).sum(axis=1) < budgets)
        if not len(short):
            break
        again = _draw_words(
            candidates[short],
            lengths[short],
            budgets[short],
            None if runs is None else runs[short],
            rng,
        )
        fuller = (again * lengths[short]).sum(axis=1) == budgets[short]
        begins[short[fuller]] = again[fuller]
    return np.take_along_axis(begins, _first_columns(word_starts), axis=1)


def apply_masks(
    input_ids: np.ndarray,
    chosen: np.ndarray,
    max_predictions_per_seq: int,
    vocabulary: vocab.Vocabulary,
    drawn_together: np.ndarray | None,
    rng: np.random.Generator,
    similar_words: similar_words_lib.SimilarWords | None = None,
) -> MaskedSequences:
    """Replace the chosen tokens and list their labels.

    Args:
        input_ids: int32 [sequences, max_seq_length] before masking.
        chosen: bool [sequences, max_seq_length].
        max_predictions_per_seq: columns of positions and labels.
        vocabulary: names [MASK] and the tokens that may replace others.
        drawn_together: bool [sequences, max_seq_length], true where a word begins
            whose tokens share one draw of 80/10/10; None to draw for each token.
        rng: draws the fate of each token.
        similar_words: see `mask_sequences`; with `drawn_together`.
    """
    rows, columns = np.nonzero(chosen)
    labels = input_ids[rows, columns]
    draw = rng.random(len(rows))
    if drawn_together is not None:
        begins = drawn_together[rows, columns]
        draw = draw[np.maximum.accumulate(np.where(begins, np.arange(len(rows)), 0))]
    others = vocabulary.replacement_ids[
        rng.integers(len(vocabulary.replacement_ids), size=len(rows))
    ]
    kept = np.where(draw < MASK_SHARE + KEEP_SHARE, labels, others)
    masked_ids = input_ids.copy()
    hidden = np.full(len(rows), vocabulary.mask_id)
    if similar_words is not None:
        begins = drawn_together[rows, columns]
        hidden = similar_words.replace_tokens(labels, begins, others, rng)
    masked_ids[rows, columns] = np.where(draw < MASK_SHARE, hidden, kept)
    num_predictions = chosen.sum(axis=1)
    place = np.arange(len(rows)) - (np.cumsum(num_predictions) - num_predictions)[rows]
    shape = (len(chosen), max_predictions_per_seq)
    positions, all_labels = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    positions[rows, place] = columns
    all_labels[rows, place] = labels
    return MaskedSequences(masked_ids, positions, all_labels, num_predictions)


def _draw_words(
    candidates: np.ndarray,
    lengths: np.ndarray,
    budgets: np.ndarray,
    runs: np.ndarray | None,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return bool [rows, columns], true at the first tokens of the words drawn."""
    order, valid = _shuffle(candidates, runs, rng)
    sizes = np.take_along_axis(lengths, order, axis=1) * valid
    after = np.cumsum(sizes, axis=1, dtype=np.int32)
    room = budgets[:, None] - (after - sizes)
    taken = valid & (sizes <= room)
    crossing = valid & (room > 0) & (sizes > room)
    uneven = np.flatnonzero(crossing.any(axis=1))
    if len(uneven):
        taken[uneven] = _even_out(
            taken[uneven], sizes[uneven], crossing[uneven], room[uneven], rng
        )
    begins = np.zeros(candidates.shape, bool)
    begins[np.nonzero(taken)[0], order[taken]] = True
    return begins


def _even_out(
    taken: np.ndarray,
    sizes: np.ndarray,
    crossing: np.ndarray,
    room: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Bring rows in which a word crosses the budget to their budget.

    Where the crossing word stays, words no longer than the excess go; where it does
    not, or the excess does not come out even, words no longer than what is missing
    come. The first takes from short words, the second adds to them, so the word stays
    with a probability at which the two cancel: between 1 and its part inside the
    budget. On Chinese text words of one to four tokens are then chosen within 2 % of
    their share.

    Args:
        taken: bool [rows, words], in random order, the crossing word not among them.
        sizes: int32 [rows, words], tokens, 0 after the last word.
        crossing: bool [rows, words], one true in each row.
        room: int32 [rows, words], tokens that the budget leaves for each word.
        rng: decides which crossing words stay.
    """
    row = np.arange(len(taken))
    place = crossing.argmax(axis=1)
    size, missing = sizes[row, place], room[row, place]
    stays = 2 * size * rng.random(len(taken)) < size + missing
    given_back, excess = _take_fitting(taken, sizes, np.where(stays, size - missing, 0))
    stays &= excess == 0
    fillers = (sizes > 0) & ~taken & ~crossing
    filled, _ = _take_fitting(fillers, sizes, np.where(stays, 0, missing))
    taken = np.where(stays[:, None], taken & ~given_back, taken | filled)
    taken[row, place] = stays
    return taken


def _take_fitting(
    candidates: np.ndarray, sizes: np.ndarray, wanted: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Take the first words that fit into `wanted` [rows] tokens, one after another.

    Returns:
        (bool [rows, words], the words taken; int32 [rows], tokens still wanted).
    """
    taken, wanted = np.zeros_like(candidates), wanted.copy()
    rows = np.flatnonzero(wanted)
    while len(rows):
        fits = candidates[rows] & ~taken[rows] & (sizes[rows] <= wanted[rows, None])
        word = fits.argmax(axis=1)
        found = fits[np.arange(len(rows)), word]
        rows, word = rows[found], word[found]
        taken[rows, word] = True
        wanted[rows] -= sizes[rows, word]
        rows = rows[wanted[rows] > 0]
    return taken, wanted


def _word_lengths(word_starts: np.ndarray) -> np.ndarray:
    """Return each word's number of tokens at its first column, int32."""
    columns = np.int32(word_starts.shape[1])
    here = np.where(word_starts, np.arange(columns, dtype=np.int32), columns)
    following = np.full_like(here, columns)
    following[:, :-1] = np.minimum.accumulate(here[:, :0:-1], axis=1)[:, ::-1]
    return following - np.arange(columns, dtype=np.int32)


def _first_columns(starts: np.ndarray) -> np.ndarray:
    """Return for each token the column where its word or run begins, int64."""
    return np.maximum.accumulate(
        np.where(starts, np.arange(starts.shape[1]), 0), axis=1
    )


def _shuffle(candidates: np.ndarray, runs: np.ndarray | None, rng: np.random.Generator):
    """Return (columns of the candidates in random order, which entries are real).

    Candidates of one run (equal in `runs`) stay together, in their order.
    """
    rows, columns = candidates.shape
    bits = int(columns).bit_length()
    # The low bits of a random key hold the column, so one sort gives the order.
    keys = rng.integers(0, 1 << 32, size=(rows, columns), dtype=np.uint32)
    if runs is not None:
        keys = np.take_along_axis(keys, runs, axis=1)
    keys = keys >> np.uint32(bits) << np.uint32(bits)
    keys |= np.arange(columns, dtype=np.uint32)
    keys[~candidates] = np.iinfo(np.uint32).max
    keys.sort(axis=1)
    most = int(candidates.sum(axis=1).max(initial=0))
    keys = keys[:, :most]
    valid = keys != np.iinfo(np.uint32).max
    order = (keys & np.uint32((1 << bits) - 1)).astype(np.int64)
    return np.where(valid, order, 0), valid

"""Choose whole words and mask them, for many sequences at a time.

Which tokens are masked follows google-research/bert: 15 % of a sequence's tokens, at
least one, at most max_predictions_per_seq; of the chosen tokens 80 % become [MASK],
10 % another token, 10 % stay. The unit of choice is the whole word.

Google's rule for a word that no longer fits (skip it, go on) picks long words far less
often than their share. Here words are taken in random order until the budget is
reached, the word that reaches over it included; the excess is then given back in
shorter words among those taken.
"""

import dataclasses

import numpy as np

from data_prep import sequences as sequences_lib
from data_prep import vocab

MASK_SHARE, KEEP_SHARE = 0.8, 0.1
# Further tries for the few sequences whose budget one random order does not fill.
_MORE_DRAWS = 4


@dataclasses.dataclass(frozen=True)
class MaskedSequences:
    """What is written of some sequences beside segment ids and lengths.

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


def count_budgets(
    lengths: np.ndarray, masked_lm_prob: float, max_predictions_per_seq: int
) -> np.ndarray:
    """Return how many tokens of each sequence are to be masked, int64.

    Args:
        lengths: tokens of each sequence, special tokens included as Google counts.
        masked_lm_prob: share of tokens.
        max_predictions_per_seq: upper limit.
    """
    wanted = np.maximum(1, np.rint(lengths * masked_lm_prob).astype(np.int64))
    return np.minimum(wanted, max_predictions_per_seq)


def choose_words(
    word_starts: np.ndarray,
    maskable: np.ndarray,
    budgets: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Choose whole words at random that fill each row's budget of tokens.

    Args:
        word_starts: bool [rows, columns], true where a word begins; column 0 begins
            one.
        maskable: bool [rows, columns], equal over all tokens of a word.
        budgets: int64 [rows], tokens to choose.
        rng: the order of words.

    Returns:
        bool [rows, columns], the chosen tokens: never more than the budget, less only
        if no words of fitting lengths are there.
    """
    lengths = _word_lengths(word_starts)
    # A word longer than the whole budget can never be chosen.
    candidates = word_starts & maskable & (lengths <= budgets[:, None])
    begins = _draw_words(candidates, lengths, budgets, rng)
    for _ in range(_MORE_DRAWS):
        # Another order may come out even where this one did not.
        short = np.flatnonzero((begins * lengths).sum(axis=1) < budgets)
        if not len(short):
            break
        again = _draw_words(candidates[short], lengths[short], budgets[short], rng)
        fuller = (again * lengths[short]).sum(axis=1) == budgets[short]
        begins[short[fuller]] = again[fuller]
    # Spread from each word's first token over the word.
    columns = np.arange(word_starts.shape[1])
    first = np.maximum.accumulate(np.where(word_starts, columns, 0), axis=1)
    return np.take_along_axis(begins, first, axis=1)


def apply_masks(
    sequences: sequences_lib.Sequences,
    chosen: np.ndarray,
    max_predictions_per_seq: int,
    vocabulary: vocab.Vocabulary,
    rng: np.random.Generator,
) -> MaskedSequences:
    """Replace the chosen tokens, each by its own draw, and list their labels.

    Args:
        sequences: the sequences before masking.
        chosen: bool [sequences, max_seq_length].
        max_predictions_per_seq: columns of positions and labels.
        vocabulary: names [MASK] and the tokens that may stand in.
        rng: draws what becomes of each token.
    """
    rows, columns = np.nonzero(chosen)
    labels = sequences.input_ids[rows, columns]
    draw = rng.random(len(rows))
    others = vocabulary.replacement_ids[
        rng.integers(len(vocabulary.replacement_ids), size=len(rows))
    ]
    kept = np.where(draw < MASK_SHARE + KEEP_SHARE, labels, others)
    input_ids = sequences.input_ids.copy()
    input_ids[rows, columns] = np.where(draw < MASK_SHARE, vocabulary.mask_id, kept)
    num_predictions = chosen.sum(axis=1)
    place = np.arange(len(rows)) - (np.cumsum(num_predictions) - num_predictions)[rows]
    shape = (len(chosen), max_predictions_per_seq)
    positions, all_labels = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    positions[rows, place] = columns
    all_labels[rows, place] = labels
    return MaskedSequences(input_ids, positions, all_labels, num_predictions)


def _draw_words(
    candidates: np.ndarray,
    lengths: np.ndarray,
    budgets: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return bool [rows, columns], true at the first tokens of the words drawn."""
    order, valid = _shuffle(candidates, rng)
    sizes = np.where(valid, np.take_along_axis(lengths, order, axis=1), 0)
    before = np.cumsum(sizes, axis=1) - sizes
    taken = valid & (before < budgets[:, None])
    excess = (sizes * taken).sum(axis=1) - budgets
    over = np.flatnonzero(excess > 0)
    if len(over):
        taken[over] = _give_back(taken[over], sizes[over], excess[over])
    begins = np.zeros(candidates.shape, bool)
    begins[np.nonzero(taken)[0], order[taken]] = True
    return begins


def _word_lengths(word_starts: np.ndarray) -> np.ndarray:
    """Return at each word's first column its number of tokens, int64."""
    columns = word_starts.shape[1]
    here = np.where(word_starts, np.arange(columns), columns)
    following = np.full_like(here, columns)
    following[:, :-1] = np.minimum.accumulate(here[:, :0:-1], axis=1)[:, ::-1]
    return following - np.arange(columns)


def _shuffle(candidates: np.ndarray, rng: np.random.Generator):
    """Return (columns of the candidates in random order, which entries are real)."""
    rows, columns = candidates.shape
    bits = int(columns).bit_length()
    # The column rides in the low bits of a random key, so one sort does it.
    keys = rng.integers(0, 1 << 32, size=(rows, columns), dtype=np.uint32)
    keys = keys >> np.uint32(bits) << np.uint32(bits)
    keys |= np.arange(columns, dtype=np.uint32)
    keys[~candidates] = np.iinfo(np.uint32).max
    keys.sort(axis=1)
    most = int(candidates.sum(axis=1).max(initial=0))
    keys = keys[:, :most]
    valid = keys != np.iinfo(np.uint32).max
    order = (keys & np.uint32((1 << bits) - 1)).astype(np.int64)
    return np.where(valid, order, 0), valid


def _give_back(taken: np.ndarray, sizes: np.ndarray, excess: np.ndarray) -> np.ndarray:
    """Bring rows that chose `excess` tokens too many to their budget.

    First words among those taken that are no longer than the excess go, in random
    order. Where that does not come out even, the word that reached over goes, and
    what is missing is filled with words not yet taken.

    Args:
        taken: bool [rows, words], in random order.
        sizes: int64 [rows, words], tokens.
        excess: int64 [rows], positive.
    """
    taken, excess = taken.copy(), excess.copy()
    last = taken.sum(axis=1) - 1  # the word that reached over
    row = np.arange(len(taken))
    for word in range(int(last.max())):
        goes = taken[:, word] & (word < last) & (sizes[:, word] <= excess)
        taken[goes, word] = False
        excess -= np.where(goes, sizes[:, word], 0)
    uneven = np.flatnonzero(excess > 0)
    if not len(uneven):
        return taken
    taken[uneven, last[uneven]] = False
    missing = sizes[row, last][uneven] - excess[uneven]
    for word in range(sizes.shape[1]):
        if not missing.any():
            break
        size = sizes[uneven, word]
        fits = (
            ~taken[uneven, word]
            & (word != last[uneven])
            & (size > 0)
            & (size <= missing)
        )
        taken[uneven[fits], word] = True
        missing -= np.where(fits, size, 0)
    return taken

"""Documents -> sequences for next sentence prediction.

The pairs are google-research/bert's: sentences are gathered until a target length is
reached, split at a sentence into A and B, and B is replaced by a stretch of another
document half of the time. Two things differ. What stands alone (a document of one
sentence, or a sentence that fills a sequence) is split at a clause or word instead of
forcing "random next", which would give the label away; and truncation cuts between
words.
"""

import bisect
import dataclasses

import numpy as np

from data_prep import documents as documents_lib

# [CLS] A [SEP] B [SEP]
SPECIAL_TOKENS = 3
_SHORTEST_TARGET = 2


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Spans of tokens for some sequences.

    Attributes:
        spans: int64 [sequences, 4]: A's first token and end, B's first token and end.
        is_random_next: bool [sequences].
        truncated_tokens: how many tokens truncation took away.
        dropped_tokens: tokens of documents that found no partner at all.
    """

    spans: np.ndarray
    is_random_next: np.ndarray
    truncated_tokens: int
    dropped_tokens: int


def make_pairs(
    documents: documents_lib.TokenizedDocuments,
    clause_ends: np.ndarray,
    max_tokens: int,
    short_seq_prob: float,
    rng: np.random.Generator,
) -> Pairs:
    """Pack documents into sentence pairs.

    Args:
        documents: one group.
        clause_ends: bool [tokens], true where a clause may end behind the token.
        max_tokens: tokens of A and B together.
        short_seq_prob: share of documents whose sequences aim at a random length.
        rng: the source of every choice.
    """
    packer = _Packer(documents, clause_ends, max_tokens, _Draws(rng))
    for document in range(len(documents.contents)):
        packer.pack(document, short_seq_prob)
    spans = np.array(packer.spans, np.int64).reshape(-1, 4)
    before = _count_tokens(spans)
    spans = truncate_pairs(spans, documents.word_starts, max_tokens, rng)
    return Pairs(
        spans,
        np.array(packer.is_random_next, bool),
        before - _count_tokens(spans),
        packer.dropped_tokens,
    )


def truncate_pairs(
    spans: np.ndarray,
    word_starts: np.ndarray,
    max_tokens: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Shorten pairs to `max_tokens` at most, cutting only between words.

    As google-research/bert's `truncate_seq_pair`: the longer side gives, each token
    from its front or its back with equal chance. Then both cuts move inwards to the
    next word border.

    Args:
        spans: int64 [sequences, 4], see `Pairs`.
        word_starts: bool [tokens + 1].
        max_tokens: tokens of A and B together.
        rng: draws how many tokens go at the front.

    Returns:
        New spans of the same shape; none is empty if no word is longer than a quarter
        of `max_tokens`.
    """
    length_a = spans[:, 1] - spans[:, 0]
    length_b = spans[:, 3] - spans[:, 2]
    keep_a = np.minimum(
        length_a, np.maximum(max_tokens - length_b, (max_tokens + 1) // 2)
    )
    keep_b = np.minimum(length_b, max_tokens - keep_a)
    borders = np.flatnonzero(word_starts)
    shortened = np.empty_like(spans)
    for column, length, keep in ((0, length_a, keep_a), (2, length_b, keep_b)):
        start = spans[:, column] + rng.binomial(length - keep, 0.5)
        end = start + keep
        shortened[:, column] = borders[np.searchsorted(borders, start)]
        shortened[:, column + 1] = borders[np.searchsorted(borders, end, "right") - 1]
    assert (shortened[:, 1::2] > shortened[:, ::2]).all(), "a side lost all its words"
    return shortened


class _Packer:
    """Goes through documents and collects spans; see `make_pairs`."""

    def __init__(self, documents, clause_ends, max_tokens: int, draws: "_Draws"):
        self._units = documents.unit_starts.tolist()
        self._documents = documents.document_starts.tolist()
        self._word_starts = documents.word_starts
        self._clause_ends = clause_ends
        self._max_tokens = max_tokens
        self._draws = draws
        # Documents of equal text count once: a copy is no random next.
        _, first, self._content_of = np.unique(
            documents.contents, return_index=True, return_inverse=True
        )
        self._distinct = first.tolist()
        self.spans: list[tuple[int, int, int, int]] = []
        self.is_random_next: list[bool] = []
        self.dropped_tokens = 0

    def pack(self, document: int, short_seq_prob: float) -> None:
        draws, units = self._draws, self._units
        target = self._max_tokens
        if draws.uniform() < short_seq_prob:
            target = _SHORTEST_TARGET + draws.below(target - _SHORTEST_TARGET + 1)
        unit, last_unit = self._documents[document : document + 2]
        has_others = len(self._distinct) > 1
        start = units[unit]  # moves inside a unit where that was split
        while unit < last_unit:
            end_unit = bisect.bisect_left(units, start + target, unit + 1, last_unit)
            end = units[end_unit]
            if end_unit - unit > 1:
                split_unit = unit + 1 + draws.below(end_unit - unit - 1)
                split = units[split_unit]
            else:
                split_unit, split = unit, self._split_inside(start, end)
            # One word without a partner has nothing to be followed by.
            alone = split is None
            if alone:
                split_unit, split = end_unit, end
            if alone and not has_others:
                self.dropped_tokens += end - start
            elif alone or (has_others and draws.uniform() < 0.5):
                other = self._draw_other(document, target - (split - start))
                self._add(start, split, *other, True)
                # What stood in B's place comes back in the next pair.
                unit, start = split_unit, split
                continue
            else:
                self._add(start, split, split, end, False)
            unit, start = end_unit, end

    def _add(self, a_start, a_end, b_start, b_end, is_random_next) -> None:
        self.spans.append((a_start, a_end, b_start, b_end))
        self.is_random_next.append(is_random_next)

    def _draw_other(self, document: int, target: int) -> tuple[int, int]:
        """Draw a stretch of about `target` tokens from a document of other text."""
        draws, units = self._draws, self._units
        content = draws.below(len(self._distinct) - 1)
        content += content >= self._content_of[document]
        other = self._distinct[content]
        first, last = self._documents[other : other + 2]
        unit = first + draws.below(last - first)
        end = bisect.bisect_left(units, units[unit] + target, unit + 1, last)
        return units[unit], units[end]

    def _split_inside(self, start: int, end: int) -> int | None:
        """Draw a place between two clauses, else two words, of a stretch of text."""
        borders = start + 1 + np.flatnonzero(self._word_starts[start + 1 : end])
        if not len(borders):
            return None
        clauses = borders[self._clause_ends[borders - 1]]
        if len(clauses):
            borders = clauses
        return int(borders[self._draws.below(len(borders))])


class _Draws:
    """Single random numbers, drawn many at a time: one at a time is slow."""

    _BLOCK = 4096

    def __init__(self, rng: np.random.Generator):
        self._rng = rng
        self._waiting: list[float] = []

    def uniform(self) -> float:
        """Return a float in [0, 1)."""
        if not self._waiting:
            self._waiting = self._rng.random(self._BLOCK).tolist()
        return self._waiting.pop()

    def below(self, limit: int) -> int:
        """Return an int in [0, limit)."""
        return int(self.uniform() * limit)


def _count_tokens(spans: np.ndarray) -> int:
    return int((spans[:, 1] - spans[:, 0] + spans[:, 3] - spans[:, 2]).sum())

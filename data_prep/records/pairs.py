"""Documents -> sentence pairs.

A stretch of as many sentences as fit is split at a sentence into A and B, and half of
the time B is replaced by a stretch of another document. What does not fit opens the
next pair, so that no token is lost. A sentence that is longer than a sequence is cut
after a clause, else after a word. A sentence that stands alone is split in the same
way: "random next" for all of those, as in google-research/bert, would give the label
away.

With `truncation` "google" stretches are those of google-research/bert: sentences are
gathered until they reach the target length, and what is over the longest length is cut
off from the longer side, at its front or back (here between words). A quarter of a
text is lost so.

The golden sentence as a pair: it stands alone, so it is split between two words.

>>> from tests.data_prep.worked_example import tokenized, vocabulary
>>> rules = PairRules(18, 0.1, "sop")
>>> clause_ends, rng = np.zeros(18, bool), np.random.default_rng(9)
>>> a, b = make_pairs(tokenized, clause_ends, rules, rng).spans.reshape(2, 2)
>>> for start, end in (a, b):
...     print(*(vocabulary.tokens[token] for token in tokenized.tokens[start:end]))
使 用 语 言 模 型 来 预 测 下 一 个
词 的 prob ##a ##bility 。
"""

import dataclasses

import numpy as np

from data_prep.records import packing
from data_prep.records.borders import TextBorders
from data_prep.text import documents as documents_lib

_SHORTEST_TARGET = 2
# Tokens of text that are worth a pair of their own at the end of a row.
_SHORTEST_FILL = 8


@dataclasses.dataclass(frozen=True)
class PairRules:
    """How pairs are made.

    Attributes:
        max_tokens: tokens of A and B together; no word is longer than a quarter of it.
        short_seq_prob: share of documents whose sequences aim at a random length.
        sentence_task: one of `packing.SENTENCE_TASKS`.
        truncation: one of `packing.TRUNCATIONS`.
        fill_rows: aim at the room that the pair before leaves in a row, for rows of
            several pairs, see `row_packing`.
    """

    max_tokens: int
    short_seq_prob: float
    sentence_task: str
    truncation: str = "none"
    fill_rows: bool = False


def make_pairs(
    documents: documents_lib.TokenizedDocuments,
    clause_ends: np.ndarray,
    rules: PairRules,
    rng: np.random.Generator,
    copies: int = 1,
) -> packing.Packed:
    """Pack documents into sentence pairs.

    All documents go forward at the same time, by a pair of each: as loops of numpy,
    that takes a tenth of the time of one document after the other in Python.

    Args:
        documents: of one bucket.
        clause_ends: bool [tokens], true where a clause may end after the token.
        rules: how.
        rng: the source of every choice.
        copies: how often all documents are packed, each time by other choices.

    Returns:
        The pairs of the first copy, then of the next one, each in the order of the
        text.
    """
    kind = _GooglePacker if rules.truncation == "google" else _Packer
    packer = kind(documents, clause_ends, rules, rng)
    spans, labels, dropped_tokens = packer.pack(copies)
    truncated_tokens = 0
    if rules.truncation == "google":
        before = _count_tokens(spans)
        spans = truncate_pairs(spans, documents.word_starts, rules.max_tokens, rng)
        truncated_tokens = before - _count_tokens(spans)
    return packing.Packed(spans, labels, truncated_tokens, dropped_tokens)


def truncate_pairs(
    spans: np.ndarray,
    word_starts: np.ndarray,
    max_tokens: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Shorten pairs to `max_tokens` at most, cutting only between words.

    As in google-research/bert's `truncate_seq_pair`, the longer side loses tokens,
    each from its front or its back with equal chance. Then both cuts move inwards to
    the next word border.

    Args:
        spans: int64 [sequences, 4], see `packing.Packed`.
        word_starts: bool [tokens + 1].
        max_tokens: tokens of A and B together.
        rng: draws the number of tokens that are cut at the front.

    Returns:
        New spans of the same shape. No side becomes empty if no word is longer than a
        quarter of `max_tokens`.
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
    kept = shortened[:, 1::2] > shortened[:, ::2]
    assert (kept | (spans[:, 1::2] == spans[:, ::2])).all(), "a side lost all its words"
    return shortened


@dataclasses.dataclass(frozen=True)
class _Walk:
    """Where each document's next pair begins, and the length that it aims at.

    Attributes:
        order: int64 [documents], number of the document among those of all copies.
        document: int64 [documents], number of the document.
        start: int64 [documents], first token of the next pair.
        first_target: int64 [documents], tokens of A and B together that the document's
            rows begin with.
        target: int64 [documents], of the next pair.
        most: int64 [documents], tokens that the next pair has room for.
    """

    order: np.ndarray
    document: np.ndarray
    start: np.ndarray
    first_target: np.ndarray
    target: np.ndarray
    most: np.ndarray

    def keep(self, chosen: np.ndarray) -> "_Walk":
        """Return some documents, chosen by an array of bool or numbers."""
        return _Walk(*(values[chosen] for values in vars(self).values()))


class _Packer:
    """Goes through documents and collects spans; see `make_pairs`."""

    def __init__(self, documents, clause_ends, rules: PairRules, rng):
        self._borders = TextBorders.find(documents, clause_ends)
        self._first_segments = documents.document_starts
        self._rules = rules
        self._rng = rng
        # Documents of equal text count once: a copy is no random next.
        _, self._distinct, self._content_of = np.unique(
            documents.contents, return_index=True, return_inverse=True
        )
        self._has_others = rules.sentence_task == "nsp" and len(self._distinct) > 1

    def pack(self, copies: int) -> tuple[np.ndarray, np.ndarray, int]:
        """Return spans, labels and the number of tokens that found no partner."""
        walk = self._begin(copies)
        orders, spans, labels = [], [], []
        dropped_tokens = 0
        while len(walk.order):
            pair, label, after, is_made = self._make_pairs(walk)
            dropped_tokens += int((after - walk.start)[~is_made].sum())
            orders.append(walk.order[is_made])
            spans.append(pair[is_made])
            labels.append(label[is_made])
            walk = self._go_on(walk, pair, after, is_made)
            is_going = walk.start < self._borders.document_ends[walk.document]
            walk = walk.keep(is_going)
        if not orders:
            return np.zeros((0, 4), np.int64), np.zeros(0, bool), 0
        in_order = np.argsort(np.concatenate(orders), kind="stable")
        return (
            np.concatenate(spans)[in_order],
            np.concatenate(labels)[in_order],
            dropped_tokens,
        )

    def _begin(self, copies: int) -> _Walk:
        longest = self._rules.max_tokens
        count = len(self._borders.document_ends)
        order = np.arange(count * copies)
        document = order % max(count, 1)
        is_short = self._rng.random(len(order)) < self._rules.short_seq_prob
        short = self._rng.integers(_SHORTEST_TARGET, longest + 1, len(order))
        target = np.where(is_short, short, longest)
        start = self._borders.document_starts[document]
        most = np.full_like(target, longest)
        return _Walk(order, document, start, target, target, most)

    def _go_on(self, walk: _Walk, pair, after, is_made) -> _Walk:
        """Return where the next pairs begin, and what the rows have left for them."""
        if not self._rules.fill_rows:
            return dataclasses.replace(walk, start=after)
        used = _count_pair_tokens(pair) + packing.SPECIAL_TOKENS["pairs"]
        left = walk.most - used * is_made
        is_new_row = left < _SHORTEST_FILL
        goes_on = is_made & ~is_new_row
        return dataclasses.replace(
            walk,
            start=after,
            target=np.where(
                goes_on, left, np.where(is_made, walk.first_target, walk.target)
            ),
            most=np.where(is_new_row, self._rules.max_tokens, left),
        )

    def _make_pairs(self, walk: _Walk):
        """Make the next pair of each document.

        Returns:
            Spans, labels, where the pair after it begins, and false where there is no
            pair, since one word is left and nothing to pair it with.
        """
        borders, task = self._borders, self._rules.sentence_task
        last = borders.document_ends[walk.document]
        start = walk.start
        end = self._find_end(start, last, walk.target, walk.most, 2)
        kinds = (borders.sentences, borders.clauses, borders.words)
        split = borders.draw_inside(start, end, kinds, self._rng)
        # One word cannot be split, so nothing follows it.
        is_alone = split < 0
        split = np.where(is_alone, end, split)
        spans = np.stack([start, split, split, end], axis=1)
        labels = np.zeros(len(start), bool)
        if task == "none":
            return spans, labels, end, ~labels
        labels = self._rng.random(len(start)) < 0.5
        if task == "sop":
            spans[labels] = spans[labels][:, [2, 3, 0, 1]]
        elif not self._has_others:
            labels[:] = False
        else:
            labels |= is_alone
            spans[labels] = self._replace_b(walk.keep(labels), split[labels])
            # The text that B replaced comes back in the next pair.
            return spans, labels, np.where(labels, spans[:, 1], end), labels | True
        return spans, labels, end, ~is_alone

    def _find_end(self, start, last, room, most, num_words: int) -> np.ndarray:
        return self._borders.find_end(start, last, room, most, num_words)

    def _replace_b(self, walk: _Walk, split: np.ndarray) -> np.ndarray:
        """Draw a B that does not follow A.

        Where A ends inside a sentence B begins inside one, since the label is not to be
        read off there.

        Args:
            walk: where each A begins.
            split: where it ends.

        Returns:
            Spans. A takes the last word of its document, which would have no partner,
            and leaves words that B has no room for.
        """
        borders, start = self._borders, walk.start
        last = borders.document_ends[walk.document]
        leaves_a_word = (split < last) & (last <= borders.words.move(split, 1))
        split = np.where(leaves_a_word, last, split)
        room = walk.target - (split - start)
        segment, b_last = self._draw_segments(walk.document, room)
        places = borders.sentences.places
        b_start, b_end = places[segment], places[segment + 1]
        kinds = (borders.clauses, borders.words)
        inside = borders.draw_inside(b_start, b_end, kinds, self._rng)
        begins_inside = ~borders.sentences.is_at(split) & (inside >= 0)
        b_start = np.where(begins_inside, inside, b_start)
        most = walk.most - (split - start)
        b_end = self._find_end(b_start, b_last, room, most, 1)
        longest_a = walk.most - (b_end - b_start)
        shortened = borders.words.last_until(np.minimum(start + longest_a, split))
        return np.stack([start, shortened, b_start, b_end], axis=1)

    def _draw_segments(self, document, room) -> tuple[np.ndarray, np.ndarray]:
        """Draw a segment of a document of other text; return it and that one's end.

        It has `room` tokens up to the end if the document has as many.
        """
        content = self._rng.integers(len(self._distinct) - 1, size=len(document))
        content += content >= self._content_of[document]
        other = self._distinct[content]
        first, end = self._first_segments[other], self._first_segments[other + 1]
        last = self._borders.document_ends[other]
        latest = np.maximum(last - np.maximum(room, 0), 0)
        after = self._borders.sentences.count_until(latest)
        return self._rng.integers(first, np.clip(after, first + 1, end)), last


class _GooglePacker(_Packer):
    """Finds the stretches of google-research/bert, which may be too long."""

    def _find_end(self, start, last, room, most, num_words: int) -> np.ndarray:
        sentences = self._borders.sentences
        enough = sentences.count_before(np.minimum(start + np.maximum(room, 0), last))
        return sentences.places[np.maximum(enough, sentences.count_until(start))]

    def _replace_b(self, walk: _Walk, split: np.ndarray) -> np.ndarray:
        room = walk.target - (split - walk.start)
        segment, b_last = self._draw_segments(walk.document, np.zeros_like(room))
        b_start = self._borders.sentences.places[segment]
        b_end = self._find_end(b_start, b_last, room, room, 1)
        return np.stack([walk.start, split, b_start, b_end], axis=1)


def _count_pair_tokens(spans: np.ndarray) -> np.ndarray:
    return spans[:, 1] - spans[:, 0] + spans[:, 3] - spans[:, 2]


def _count_tokens(spans: np.ndarray) -> int:
    return int(_count_pair_tokens(spans).sum())

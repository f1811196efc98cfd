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
>>> clause_ends, rng = np.zeros(18, bool), np.random.default_rng(5)
>>> a, b = make_pairs(tokenized, clause_ends, rules, rng).spans.reshape(2, 2)
>>> for start, end in (a, b):
...     print(*(vocabulary.tokens[token] for token in tokenized.tokens[start:end]))
使 用 语 言 模 型 来 预 测
下 一 个 词 的 prob ##a ##bility 。
"""

import bisect
import dataclasses

import numpy as np

from data_prep.records import packing
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
) -> packing.Packed:
    """Pack documents into sentence pairs.

    Args:
        documents: of one bucket.
        clause_ends: bool [tokens], true where a clause may end after the token.
        rules: how.
        rng: the source of every choice.
    """
    kind = _GooglePacker if rules.truncation == "google" else _Packer
    packer = kind(documents, clause_ends, rules, _Draws(rng))
    for document in range(len(documents.contents)):
        packer.pack(document)
    spans = np.array(packer.spans, np.int64).reshape(-1, 4)
    truncated_tokens = 0
    if rules.truncation == "google":
        before = _count_tokens(spans)
        spans = truncate_pairs(spans, documents.word_starts, rules.max_tokens, rng)
        truncated_tokens = before - _count_tokens(spans)
    return packing.Packed(
        spans, np.array(packer.labels, bool), truncated_tokens, packer.dropped_tokens
    )


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


class _Packer:
    """Goes through documents and collects spans; see `make_pairs`."""

    def __init__(self, documents, clause_ends, rules: PairRules, draws: "_Draws"):
        self._segments = documents.segment_starts.tolist()
        self._documents = documents.document_starts.tolist()
        self._word_borders = np.flatnonzero(documents.word_starts).tolist()
        # One more, so that a stretch of the last word has a border of two words.
        self._word_borders.append(self._word_borders[-1])
        # Clauses end with words; the 0 is there so that one is always found.
        is_border = clause_ends & documents.word_starts[1:]
        self._clause_borders = [0, *(np.flatnonzero(is_border) + 1).tolist()]
        self._rules = rules
        self._draws = draws
        # Documents of equal text count once: a copy is no random next.
        _, first, self._content_of = np.unique(
            documents.contents, return_index=True, return_inverse=True
        )
        self._distinct = first.tolist()
        self.spans: list[tuple[int, int, int, int]] = []
        self.labels: list[bool] = []
        self.dropped_tokens = 0

    def pack(self, document: int) -> None:
        draws, segments, task = self._draws, self._segments, self._rules.sentence_task
        self._aim = _Aim(self._draw_target(), self._rules)
        segment, last_segment = self._documents[document : document + 2]
        has_others = task == "nsp" and len(self._distinct) > 1
        # A stretch may begin and end inside a segment.
        start, last = segments[segment], segments[last_segment]
        while start < last:
            end = self._find_end(
                *(start, segment, last_segment, self._aim.target),
                self._aim.most,
                num_words=2,
            )
            after = bisect.bisect_left(segments, end, segment + 1, last_segment + 1)
            next_segment = after if segments[after] == end else after - 1
            if after - segment > 1:
                split = segments[segment + 1 + draws.below(after - segment - 1)]
            else:
                split = self._split_inside(start, end)
            # One word cannot be split, so nothing follows it.
            alone = split is None
            if alone:
                split = end
            if alone and task == "none":
                self._add(start, end, end, end, False)
            elif alone and not has_others:
                self.dropped_tokens += end - start
            elif alone or (has_others and draws.uniform() < 0.5):
                split, other = self._draw_other(document, start, split, last)
                self._add(start, split, *other, True)
                # The text that B replaced comes back in the next pair.
                segment, start = bisect.bisect_right(segments, split) - 1, split
                continue
            elif task == "sop" and draws.uniform() < 0.5:
                self._add(split, end, start, split, True)
            else:
                self._add(start, split, split, end, False)
            segment, start = next_segment, end

    def _draw_target(self) -> int:
        """Draw the number of tokens that the pairs of a document aim at."""
        target = self._rules.max_tokens
        if self._draws.uniform() < self._rules.short_seq_prob:
            target = _SHORTEST_TARGET + self._draws.below(target - _SHORTEST_TARGET + 1)
        return target

    def _add(self, a_start, a_end, b_start, b_end, label) -> None:
        self.spans.append((a_start, a_end, b_start, b_end))
        self.labels.append(label)
        self._aim.take(a_end - a_start + b_end - b_start)

    def _find_end(
        self,
        start: int,
        segment: int,
        last_segment: int,
        room: int,
        most: int,
        num_words: int = 1,
    ) -> int:
        """Return the end of a stretch that has room for some tokens.

        It is the document's, if that fits, or a place in the last quarter of the room:
        the last end of a sentence there, else of a clause, else of a word. Where the
        room is small by choice, a whole sentence is taken all the same.

        Args:
            start: the first token.
            segment: that holds it.
            last_segment: the document's end.
            room: tokens to aim at.
            most: tokens that there is room for.
            num_words: the fewest words of a stretch, whatever the room, if there are
                as many up to the end of the document.
        """
        limit, words = start + max(room, 0), self._word_borders
        last = self._segments[last_segment]
        if last <= limit:
            return last
        after = bisect.bisect_right(self._segments, limit, segment, last_segment)
        end = self._segments[after - 1]
        if end <= start and room < most and self._segments[after] <= start + most:
            return self._segments[after]
        nearest = limit - room // 4
        if end < nearest:
            end = self._clause_borders[
                bisect.bisect_right(self._clause_borders, limit) - 1
            ]
        if end < nearest:
            end = words[bisect.bisect_right(words, limit) - 1]
        fewest = words[bisect.bisect_left(words, start) + num_words]
        return min(max(end, fewest), last)

    def _draw_other(
        self, document: int, start: int, split: int, last: int
    ) -> tuple[int, tuple[int, int]]:
        """Draw a B that does not follow A.

        Where A ends inside a sentence B begins inside one, since the label is not to be
        read off there.

        Args:
            document: that A comes from.
            start: A's first token.
            split: A's end.
            last: the document's end.

        Returns:
            A's end, first token and end of B. A takes the last word of its document,
            which would have no partner, and leaves words that B has no room for.
        """
        words = self._word_borders
        if split < last <= words[bisect.bisect_right(words, split)]:
            split = last
        room = self._aim.target - (split - start)
        segment, last_segment = self._draw_segment(document, room)
        b_start = self._segments[segment]
        if self._segments[bisect.bisect_right(self._segments, split) - 1] != split:
            inside = self._split_inside(b_start, self._segments[segment + 1])
            b_start = inside or b_start
        most = self._aim.most - (split - start)
        b_end = self._find_end(b_start, segment, last_segment, room, most)
        longest_a = self._aim.most - (b_end - b_start)
        if split - start > longest_a:
            split = words[bisect.bisect_right(words, start + longest_a) - 1]
        return split, (b_start, b_end)

    def _draw_segment(self, document: int, room: int) -> tuple[int, int]:
        """Draw a segment of a document of other text; return it and that one's end.

        It has `room` tokens up to the end if the document has as many.
        """
        content = self._draws.below(len(self._distinct) - 1)
        content += content >= self._content_of[document]
        other = self._distinct[content]
        first, last = self._documents[other : other + 2]
        latest = self._segments[last] - max(room, 0)
        after = bisect.bisect_right(self._segments, latest, first + 1, last)
        return first + self._draws.below(after - first), last

    def _split_inside(self, start: int, end: int) -> int | None:
        """Draw a place between two clauses, else two words, of a stretch of text."""
        for borders in (self._clause_borders, self._word_borders):
            first = bisect.bisect_right(borders, start)
            count = bisect.bisect_left(borders, end, first) - first
            if count > 0:
                return borders[first + self._draws.below(count)]
        return None


class _Aim:
    """The length that pairs of a document aim at.

    Args:
        target: tokens of A and B together.
        rules: of the pairs.

    Attributes:
        target: of the next pair.
        most: tokens that it has room for.
    """

    def __init__(self, target: int, rules: PairRules):
        self._first = target
        self._rules = rules
        self._begin_row()

    def _begin_row(self) -> None:
        self.target, self.most = self._first, self._rules.max_tokens
        self._room = self._rules.max_tokens

    def take(self, tokens: int) -> None:
        """Aim at what a pair of this many tokens leaves, or at a new row."""
        if not self._rules.fill_rows:
            return
        self._room -= tokens + packing.SPECIAL_TOKENS["pairs"]
        if self._room < _SHORTEST_FILL:
            self._begin_row()
        else:
            self.target = self.most = self._room


class _GooglePacker(_Packer):
    """Finds the stretches of google-research/bert, which may be too long."""

    def _find_end(
        self,
        start: int,
        segment: int,
        last_segment: int,
        room: int,
        most: int,
        num_words: int = 1,
    ) -> int:
        end = bisect.bisect_left(
            self._segments, start + room, segment + 1, last_segment
        )
        return self._segments[end]

    def _draw_other(
        self, document: int, start: int, split: int, last: int
    ) -> tuple[int, tuple[int, int]]:
        segment, last_segment = self._draw_segment(document, 0)
        room = self._aim.target - (split - start)
        b_start = self._segments[segment]
        b_end = self._find_end(b_start, segment, last_segment, room, room)
        return split, (b_start, b_end)


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

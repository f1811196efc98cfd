"""Documents -> sequences: sentence pairs, full sentences, chunks or single lines.

The pairs are google-research/bert's: sentences are gathered until a target length is
reached, split at a sentence into A and B, and B is replaced by a stretch of another
document half of the time. Two things differ. A sentence that stands alone (it is the
whole document, or it fills a sequence) is split at a clause or word instead of forcing
"random next", which would give the label away; and truncation cuts between words.

Full sentences are RoBERTa's FULL-SENTENCES (arXiv:1907.11692, section 4.2): as many
sentences as fit, continued in the next document after a [SEP]. Chunks are the same
without regard for sentences: the text is cut between words where a sequence is full, so
that hardly a position is padding.

The golden sentence as a pair: it stands alone, so it is split between two words.

>>> from tests.data_prep.worked_example import tokenized, vocabulary
>>> clause_ends, rng = np.zeros(18, bool), np.random.default_rng(5)
>>> a, b = make_pairs(tokenized, clause_ends, 18, 0.1, "sop", rng).spans.reshape(2, 2)
>>> for start, end in (a, b):
...     print(*(vocabulary.tokens[token] for token in tokenized.tokens[start:end]))
使 用 语 言 模 型 来 预 测
下 一 个 词 的 prob ##a ##bility 。
"""

import bisect
import dataclasses

import numpy as np

from data_prep.text import documents as documents_lib

# nsp: does B follow A, or come from another document (1)? sop (ALBERT,
# arXiv:1909.11942): are A and B in their order, or swapped (1)?
SENTENCE_TASKS = ("nsp", "sop", "none")
PACKINGS = ("pairs", "full_sentences", "chunks", "lines")
# Those that continue in the next document, see `join_documents`.
ACROSS_DOCUMENTS = ("full_sentences", "chunks")
# [CLS] A [SEP] B [SEP], or [CLS] A [SEP]
SPECIAL_TOKENS = {"pairs": 3, "full_sentences": 2, "chunks": 2, "lines": 2}
_SHORTEST_TARGET = 2


@dataclasses.dataclass(frozen=True)
class Packed:
    """Spans of tokens for some sequences.

    Attributes:
        spans: int64 [sequences, 4]: A's first token and end, B's first token and end;
            B is empty where a sequence has one part.
        labels: bool [sequences], next_sentence_labels.
        truncated_tokens: number of tokens that truncation took away.
        dropped_tokens: number of tokens that found no partner at all.
    """

    spans: np.ndarray
    labels: np.ndarray
    truncated_tokens: int = 0
    dropped_tokens: int = 0


def make_pairs(
    documents: documents_lib.TokenizedDocuments,
    clause_ends: np.ndarray,
    max_tokens: int,
    short_seq_prob: float,
    sentence_task: str,
    rng: np.random.Generator,
) -> Packed:
    """Pack documents into sentence pairs.

    Args:
        documents: of one bucket.
        clause_ends: bool [tokens], true where a clause may end after the token.
        max_tokens: tokens of A and B together.
        short_seq_prob: share of documents whose sequences aim at a random length.
        sentence_task: one of `SENTENCE_TASKS`.
        rng: the source of every choice.
    """
    packer = _Packer(documents, clause_ends, max_tokens, sentence_task, _Draws(rng))
    for document in range(len(documents.contents)):
        packer.pack(document, short_seq_prob)
    spans = np.array(packer.spans, np.int64).reshape(-1, 4)
    before = _count_tokens(spans)
    spans = truncate_pairs(spans, documents.word_starts, max_tokens, rng)
    return Packed(
        spans,
        np.array(packer.labels, bool),
        before - _count_tokens(spans),
        packer.dropped_tokens,
    )


def join_documents(
    documents: documents_lib.TokenizedDocuments, sep_id: int
) -> documents_lib.TokenizedDocuments:
    """Return the documents with a [SEP] at the end of each one's last segment."""
    ends = documents.segment_starts[documents.document_starts[1:]]
    seps_before = np.searchsorted(ends, documents.segment_starts, "right")
    return dataclasses.replace(
        documents,
        tokens=np.insert(documents.tokens, ends, sep_id),
        word_starts=np.insert(documents.word_starts, ends, True),
        segment_starts=documents.segment_starts + seps_before,
    )


def make_full_sentences(
    joined: documents_lib.TokenizedDocuments, max_tokens: int
) -> Packed:
    """Pack as many segments as fit into each sequence, across the ends of documents.

    Args:
        joined: from `join_documents`.
        max_tokens: tokens of a sequence's text, [SEP] between documents included.
    """
    starts = joined.segment_starts.tolist()
    # The [SEP] after a document is left out where the sequence ends there.
    last_segments = joined.document_starts[1:] - 1
    segment_ends = joined.segment_starts[1:].copy()
    segment_ends[last_segments] -= 1
    ends = segment_ends.tolist()
    spans = []
    segment = 0
    while segment < len(ends):
        after = bisect.bisect_right(ends, starts[segment] + max_tokens)
        spans.append((starts[segment], ends[after - 1]))
        segment = after
    return _without_b(np.array(spans, np.int64).reshape(-1, 2))


def make_chunks(joined: documents_lib.TokenizedDocuments, max_tokens: int) -> Packed:
    """Pack as many words as fit into each sequence, across the ends of documents.

    Args:
        joined: from `join_documents`; no word is longer than `max_tokens`.
        max_tokens: tokens of a sequence's text, [SEP] between documents included.
    """
    borders = np.flatnonzero(joined.word_starts).tolist()
    # The [SEP] after a document is left out where a sequence ends or begins.
    separators = set((joined.segment_starts[joined.document_starts[1:]] - 1).tolist())
    spans = []
    start, last = 0, len(joined.tokens)
    while start < last:
        end = borders[bisect.bisect_right(borders, start + max_tokens) - 1]
        after = end + (end in separators)
        end -= end - 1 in separators
        if end > start:
            spans.append((start, end))
        start = after
    return _without_b(np.array(spans, np.int64).reshape(-1, 2))


def make_lines(documents: documents_lib.TokenizedDocuments) -> Packed:
    """Make one sequence of each segment: a line, or a part of one that is too long."""
    return _without_b(
        np.stack([documents.segment_starts[:-1], documents.segment_starts[1:]], axis=1)
    )


def _without_b(spans: np.ndarray) -> Packed:
    return Packed(
        np.concatenate([spans, spans[:, 1:], spans[:, 1:]], axis=1),
        np.zeros(len(spans), bool),
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
        spans: int64 [sequences, 4], see `Packed`.
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

    def __init__(
        self, documents, clause_ends, max_tokens: int, task: str, draws: "_Draws"
    ):
        self._segments = documents.segment_starts.tolist()
        self._documents = documents.document_starts.tolist()
        self._word_starts = documents.word_starts
        self._clause_ends = clause_ends
        self._max_tokens = max_tokens
        self._task = task
        self._draws = draws
        # Documents of equal text count once: a copy is no random next.
        _, first, self._content_of = np.unique(
            documents.contents, return_index=True, return_inverse=True
        )
        self._distinct = first.tolist()
        self.spans: list[tuple[int, int, int, int]] = []
        self.labels: list[bool] = []
        self.dropped_tokens = 0

    def pack(self, document: int, short_seq_prob: float) -> None:
        draws, segments = self._draws, self._segments
        target = self._max_tokens
        if draws.uniform() < short_seq_prob:
            target = _SHORTEST_TARGET + draws.below(target - _SHORTEST_TARGET + 1)
        segment, last_segment = self._documents[document : document + 2]
        has_others = self._task == "nsp" and len(self._distinct) > 1
        start = segments[segment]  # moves inside a segment that was split
        while segment < last_segment:
            end_segment = bisect.bisect_left(
                segments, start + target, segment + 1, last_segment
            )
            end = segments[end_segment]
            if end_segment - segment > 1:
                split_segment = segment + 1 + draws.below(end_segment - segment - 1)
                split = segments[split_segment]
            else:
                split_segment, split = segment, self._split_inside(start, end)
            # One word cannot be split, so nothing follows it.
            alone = split is None
            if alone:
                split_segment, split = end_segment, end
            if alone and self._task == "none":
                self._add(start, end, end, end, False)
            elif alone and not has_others:
                self.dropped_tokens += end - start
            elif alone or (has_others and draws.uniform() < 0.5):
                other = self._draw_other(document, target - (split - start))
                self._add(start, split, *other, True)
                # The text that B replaced comes back in the next pair.
                segment, start = split_segment, split
                continue
            elif self._task == "sop" and draws.uniform() < 0.5:
                self._add(split, end, start, split, True)
            else:
                self._add(start, split, split, end, False)
            segment, start = end_segment, end

    def _add(self, a_start, a_end, b_start, b_end, label) -> None:
        self.spans.append((a_start, a_end, b_start, b_end))
        self.labels.append(label)

    def _draw_other(self, document: int, target: int) -> tuple[int, int]:
        """Draw a stretch of about `target` tokens from a document of other text."""
        draws, segments = self._draws, self._segments
        content = draws.below(len(self._distinct) - 1)
        content += content >= self._content_of[document]
        other = self._distinct[content]
        first, last = self._documents[other : other + 2]
        segment = first + draws.below(last - first)
        start = segments[segment]
        end = bisect.bisect_left(segments, start + target, segment + 1, last)
        return start, segments[end]

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

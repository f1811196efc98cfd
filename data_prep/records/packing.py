"""Documents -> sequences: full sentences, chunks or single lines; see also `pairs`.

Full sentences are RoBERTa's FULL-SENTENCES (arXiv:1907.11692, section 4.2): as many
sentences as fit, continued in the next document after a [SEP]. Chunks are the same
without regard for sentences: the text is cut between words where a sequence is full, so
that hardly a position is padding.
"""

import bisect
import dataclasses

import numpy as np

from data_prep.text import documents as documents_lib

# nsp: does B follow A, or come from another document (1)? sop (ALBERT,
# arXiv:1909.11942): are A and B in their order, or swapped (1)?
SENTENCE_TASKS = ("nsp", "sop", "none")
# How pairs are made: see `pairs`.
TRUNCATIONS = ("none", "google")
PACKINGS = ("pairs", "full_sentences", "chunks", "lines")
# Those that continue in the next document, see `join_documents`.
ACROSS_DOCUMENTS = ("full_sentences", "chunks")
# [CLS] A [SEP] B [SEP], or [CLS] A [SEP]
SPECIAL_TOKENS = {"pairs": 3, "full_sentences": 2, "chunks": 2, "lines": 2}


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

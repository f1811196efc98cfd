"""Spans -> rows of token ids: [CLS] A [SEP] (B [SEP]) and padding.

A row holds one such sequence, or several, see `row_packing`.
"""

import dataclasses

import numpy as np

from data_prep.text import documents as documents_lib
from data_prep.text import vocab


@dataclasses.dataclass(frozen=True)
class Sequences:
    """Unmasked rows of fixed length.

    Attributes:
        input_ids: int32 [rows, max_seq_length], [PAD] after the end.
        segment_ids: uint8 [rows, max_seq_length], 1 for B and its [SEP].
        lengths: int64 [rows], tokens before the padding.
        word_starts: bool [rows, max_seq_length]; special tokens and each padding token
            begin a word of their own, so no word contains one.
        maskable: bool [rows, max_seq_length], false for special tokens, padding and
            every token of a word that holds [UNK], which is never a label.
    """

    input_ids: np.ndarray
    segment_ids: np.ndarray
    lengths: np.ndarray
    word_starts: np.ndarray
    maskable: np.ndarray


def mark_known_words(
    tokens: np.ndarray, word_starts: np.ndarray, vocabulary: vocab.Vocabulary
) -> np.ndarray:
    """Return bool [tokens], false for [SEP] and for tokens of words that hold [UNK]."""
    begins = np.flatnonzero(word_starts[:-1])
    if not len(begins):
        return np.zeros(0, bool)
    known = (tokens != vocabulary.unk_id) & (tokens != vocabulary.sep_id)
    known = np.logical_and.reduceat(known, begins)
    return np.repeat(known, np.diff(np.append(begins, len(tokens))))


def split_words(sequences: Sequences, vocabulary: vocab.Vocabulary) -> Sequences:
    """Return the same sequences with every token as a word of its own.

    Only [UNK] itself is then not maskable, instead of the word around it.
    """
    # No text ever yields a special id other than [UNK]: see tokenization.
    special = (vocabulary.pad_id, vocabulary.cls_id, vocabulary.sep_id)
    return dataclasses.replace(
        sequences,
        word_starts=np.ones_like(sequences.word_starts),
        maskable=~np.isin(sequences.input_ids, (*special, vocabulary.unk_id)),
    )


def count_tokens(spans: np.ndarray) -> np.ndarray:
    """Return the tokens of sequences with [CLS] and [SEP], int64 [sequences]."""
    length_b = spans[:, 3] - spans[:, 2]
    return spans[:, 1] - spans[:, 0] + length_b + 2 + (length_b > 0)


def build_sequences(
    documents: documents_lib.TokenizedDocuments,
    spans: np.ndarray,
    known: np.ndarray,
    max_seq_length: int,
    vocabulary: vocab.Vocabulary,
) -> Sequences:
    """Lay out sequences; [SEP] closes A, and B where it is not empty.

    Args:
        documents: the spans point into their tokens.
        spans: int64 [sequences, 4], see `packing.Packed`; with the special tokens
            they fit into a row.
        known: bool [tokens], see `mark_known_words`.
        max_seq_length: tokens of a row.
        vocabulary: names the special ids.
    """
    length_a = (spans[:, 1] - spans[:, 0])[:, None]
    length_b = (spans[:, 3] - spans[:, 2])[:, None]
    lengths = count_tokens(spans)[:, None]
    column = np.arange(max_seq_length)
    in_a = (column >= 1) & (column <= length_a)
    in_b = (column >= length_a + 2) & (column <= length_a + length_b + 1)
    source = column + np.where(in_b, spans[:, 2:3] - length_a - 2, spans[:, :1] - 1)
    text = in_a | in_b

    def take(values: np.ndarray) -> np.ndarray:
        # Clipped: outside the text a row may point anywhere.
        return values.take(source, mode="clip")

    input_ids = take(documents.tokens)
    input_ids[~text] = vocabulary.pad_id
    input_ids[:, 0] = vocabulary.cls_id
    rows = np.arange(len(spans))[:, None]
    input_ids[rows, length_a + 1] = vocabulary.sep_id
    input_ids[rows, lengths - 1] = vocabulary.sep_id
    return Sequences(
        input_ids,
        ((column >= length_a + 2) & (column < lengths)).astype(np.uint8),
        lengths[:, 0],
        take(documents.word_starts) | ~text,
        take(known) & text,
    )


def list_parts(built: Sequences, labels: np.ndarray) -> np.ndarray:
    """Return what `compact` stores of each sequence, int64 [sequences, 3].

    Args:
        built: one sequence a row.
        labels: bool [sequences], next_sentence_labels.

    Returns:
        The tokens of A with [CLS] and its [SEP], those of B with its [SEP] (0 without
        B), and the label.
    """
    length_b = built.segment_ids.sum(axis=1, dtype=np.int64)
    return np.stack([built.lengths - length_b, length_b, labels], axis=1)


def join_rows(built: Sequences, rows: np.ndarray, pad_id: int) -> Sequences:
    """Put sequences one after the other into rows.

    Args:
        built: one sequence a row, in the order of `rows`.
        rows: from `row_packing.pack_rows`: int64 [rows, most], -1 where a row has
            fewer.
        pad_id: id of [PAD].
    """
    length = built.input_ids.shape[1]
    lengths = np.zeros(rows.shape, np.int64)
    lengths[rows >= 0] = built.lengths
    begins = np.cumsum(lengths, axis=1) - lengths
    begins += np.arange(len(rows))[:, None] * length
    columns = np.arange(length)
    in_use = columns < built.lengths[:, None]
    places = (begins[rows >= 0][:, None] + columns)[in_use]

    def place(values: np.ndarray, padding) -> np.ndarray:
        placed = np.full((len(rows), length), padding, values.dtype)
        placed.ravel()[places] = values[in_use]
        return placed

    return Sequences(
        place(built.input_ids, pad_id),
        place(built.segment_ids, 0),
        lengths.sum(axis=1),
        place(built.word_starts, True),
        place(built.maskable, False),
    )

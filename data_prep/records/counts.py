"""The counts of a bucket for the data report, by array operations."""

import numpy as np

from data_prep.records import masking
from data_prep.records import sequences as sequences_lib
from data_prep.text import counts as counts_lib
from data_prep.text import documents as documents_lib


def count_same_text(
    documents: documents_lib.TokenizedDocuments,
    spans: np.ndarray,
    is_random_next: np.ndarray,
) -> int:
    """Count the random next sentences whose document has the same text as A's.

    Args:
        documents: the spans point into their tokens.
        spans: int64 [sequences, 4]: A's first token and end, B's first token and end.
        is_random_next: bool [sequences].
    """
    starts = documents.segment_starts[documents.document_starts[:-1]]
    pairs = spans[is_random_next][:, [0, 2]]
    texts = documents.contents[np.searchsorted(starts, pairs, "right") - 1]
    return int((texts[:, 0] == texts[:, 1]).sum())


def measure_sequences(
    built: sequences_lib.Sequences, masked: masking.MaskedSequences
) -> counts_lib.Counts:
    """Count lengths, and words masked whole, of some sequences.

    Args:
        built: the sequences; their words are the segmenter's for each `--masking`.
        masked: which of their tokens are masked.

    Returns:
        length_histogram: place n counts the sequences of n tokens.
        words_by_length: place n counts the words of n tokens that may be masked.
        words_masked_whole: the same for words with every token masked.
        words_masked_in_part: number of words with some tokens masked and some not.
    """
    columns = built.input_ids.shape[1]
    word_of = np.cumsum(built.word_starts.ravel(), dtype=np.int32) - 1
    rows, places = np.nonzero(
        np.arange(masked.positions.shape[1]) < masked.num_predictions[:, None]
    )
    tokens = rows * columns + masked.positions[rows, places]
    begins = np.flatnonzero(built.word_starts)
    lengths = np.diff(np.append(begins, built.word_starts.size))
    in_word = np.bincount(word_of[tokens], minlength=len(begins))
    words = built.maskable.ravel()[begins]
    lengths, in_word = lengths[words], in_word[words]
    whole = lengths[in_word == lengths]
    return {
        "length_histogram": np.bincount(built.lengths, minlength=columns + 1).tolist(),
        "words_by_length": np.bincount(lengths).tolist(),
        "words_masked_whole": np.bincount(whole).tolist(),
        "words_masked_in_part": int(((in_word > 0) & (in_word < lengths)).sum()),
    }

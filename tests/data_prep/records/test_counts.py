import numpy as np

from data_prep.records import counts, masking, sequences
from data_prep.text import documents


def test_words_and_lengths_are_counted_by_hand():
    # [CLS] AB C [SEP] D [SEP] pad; AB masked whole. Then [CLS] ABC [SEP] D [SEP] pad
    # with B alone masked.
    starts = [[1, 1, 0, 1, 1, 1, 1, 1], [1, 1, 0, 0, 1, 1, 1, 1]]
    maskable = [[0, 1, 1, 1, 0, 1, 0, 0], [0, 1, 1, 1, 0, 1, 0, 0]]
    ids = np.zeros((2, 8), np.int32)
    built = sequences.Sequences(
        ids,
        ids.astype(np.uint8),
        np.array([7, 7]),
        np.array(starts, bool),
        np.array(maskable, bool),
    )
    masked = masking.MaskedSequences(
        ids, np.array([[1, 2], [2, 0]]), ids[:, :2], np.array([2, 1])
    )
    assert counts.measure_sequences(built, masked) == {
        "length_histogram": [0, 0, 0, 0, 0, 0, 0, 2, 0],
        "words_by_length": [0, 3, 1, 1],
        "words_masked_whole": [0, 0, 1],
        "words_masked_in_part": 1,
    }


def test_random_next_from_equal_text_is_found():
    # Documents of 2, 2 and 1 segments of one token; the first two have the same text.
    bucket = documents.TokenizedDocuments(
        np.arange(5, dtype=np.int32),
        np.ones(6, bool),
        np.arange(6),
        np.array([0, 2, 4, 5]),
        np.array([0, 0, 1]),
        {},
    )
    spans = np.array([[0, 1, 2, 3], [0, 1, 4, 5], [0, 1, 1, 2], [1, 2, 0, 1]])
    is_random_next = np.array([True, True, False, True])
    assert counts.count_same_text(bucket, spans, is_random_next) == 2

import dataclasses

import numpy as np
import pytest

from data_prep.records import packing
from tests.data_prep.records.token_documents import make_documents, make_news


@pytest.fixture(scope="module")
def news():
    return make_news()


def test_full_sentences_go_on_into_the_next_document():
    joined = packing.join_documents(make_documents([[3, 4], [2], [5]]), sep_id=99)
    # 0-2 3-6 SEP 7-8 SEP 9-13 SEP
    assert np.flatnonzero(joined.tokens == 99).tolist() == [7, 10, 16]
    assert joined.segment_starts.tolist() == [0, 3, 8, 11, 17]
    assert joined.word_starts.all()
    packed = packing.make_full_sentences(joined, max_tokens=10)
    # 3 + 4 + [SEP] + 2 tokens; the [SEP] after them would be the eleventh and is not
    # needed at the end of a sequence. 5 tokens more do not fit.
    assert packed.spans.tolist() == [[0, 10, 10, 10], [11, 16, 16, 16]]
    assert not packed.labels.any()


def test_full_sentences_use_every_token_once(news):
    joined = packing.join_documents(news, sep_id=-1)
    spans = packing.make_full_sentences(joined, 60).spans
    assert (spans[:, 1] - spans[:, 0] <= 60).all()
    covered = np.concatenate([joined.tokens[a:b] for a, b in spans[:, :2]])
    assert covered[covered != -1].tolist() == news.tokens.tolist()
    # Between neighbours lies nothing but a document's [SEP].
    gaps = spans[1:, 0] - spans[:-1, 1]
    assert set(gaps.tolist()) == {0, 1}
    assert (joined.tokens[spans[:-1, 1][gaps == 1]] == -1).all()


def test_chunks_are_cut_between_words_and_leave_out_separators_at_their_ends():
    joined = packing.join_documents(make_documents([[3, 4], [2], [5]]), sep_id=99)
    # 0-6 SEP 8-9 SEP 11-15 SEP
    chunks = {
        most: packing.make_chunks(joined, most).spans[:, :2].tolist()
        for most in (7, 8, 10, 12, 30)
    }
    assert chunks == {
        7: [[0, 7], [8, 15], [15, 16]],
        8: [[0, 7], [8, 16]],
        10: [[0, 10], [11, 16]],
        12: [[0, 12], [12, 16]],
        30: [[0, 16]],
    }
    words = joined.word_starts.copy()
    words[[5, 6]] = False  # A word of tokens 4, 5 and 6.
    joined = dataclasses.replace(joined, word_starts=words)
    assert packing.make_chunks(joined, 6).spans[:2, :2].tolist() == [[0, 4], [4, 10]]


def test_chunks_use_every_token_once_and_hardly_pad(news):
    joined = packing.join_documents(news, sep_id=-1)
    spans = packing.make_chunks(joined, 60).spans
    lengths = spans[:, 1] - spans[:, 0]
    assert lengths.max() == 60
    assert lengths.sum() > 0.98 * 60 * len(spans)
    covered = np.concatenate([joined.tokens[a:b] for a, b in spans[:, :2]])
    assert covered[covered != -1].tolist() == news.tokens.tolist()
    assert joined.word_starts[spans[:, :2]].all()
    gaps = spans[1:, 0] - spans[:-1, 1]
    assert set(gaps.tolist()) == {0, 1}
    assert (joined.tokens[spans[:-1, 1][gaps == 1]] == -1).all()


def test_lines_are_sequences_of_their_own():
    packed = packing.make_lines(make_documents([[3, 4], [2]]))
    assert packed.spans.tolist() == [[0, 3, 3, 3], [3, 7, 7, 7], [7, 9, 9, 9]]
    assert not packed.labels.any()

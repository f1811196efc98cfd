import dataclasses

import numpy as np
import pytest

from data_prep.records import packing
from data_prep.text import documents as documents_lib


def make_documents(lengths: list[list[int]], contents=None, word=1):
    """Documents of sentences with these numbers of tokens; words of `word` tokens."""
    sizes = [size for document in lengths for size in document]
    total = sum(sizes)
    starts = np.arange(total + 1) % word == 0
    starts[np.concatenate([[0], np.cumsum(sizes)])] = True
    return documents_lib.TokenizedDocuments(
        np.arange(total, dtype=np.int32),
        starts,
        np.concatenate([[0], np.cumsum(sizes)]),
        np.concatenate([[0], np.cumsum([len(document) for document in lengths])]),
        np.arange(len(lengths)) if contents is None else np.array(contents),
        {},
    )


def pack(documents, max_tokens=60, short_seq_prob=0.1, seed=0, task="nsp"):
    ends = np.zeros(len(documents.tokens), bool)
    return packing.make_pairs(
        documents, ends, max_tokens, short_seq_prob, task, np.random.default_rng(seed)
    )


def document_of(documents, tokens):
    borders = documents.segment_starts[documents.document_starts]
    return np.searchsorted(borders, tokens, "right") - 1


@pytest.fixture(scope="module")
def news():
    rng = np.random.default_rng(1)
    lengths = [rng.integers(5, 60, rng.integers(1, 12)).tolist() for _ in range(600)]
    return make_documents(lengths, word=3)


def test_half_of_the_pairs_are_random_next(news):
    pairs = pack(news)
    assert 0.48 < pairs.labels.mean() < 0.52


def test_next_is_next_and_random_next_is_of_another_document(news):
    pairs = pack(news, max_tokens=10_000)  # nothing is truncated
    assert pairs.truncated_tokens == 0
    spans, random = pairs.spans, pairs.labels
    assert (spans[~random, 1] == spans[~random, 2]).all()
    of_a, of_b = document_of(news, spans[:, 0]), document_of(news, spans[:, 2])
    assert (of_a[random] != of_b[random]).all()
    assert (of_a[~random] == of_b[~random]).all()
    assert (document_of(news, spans[:, 3] - 1) == of_b).all()


def test_every_token_is_in_a_pair_as_written(news):
    pairs = pack(news, max_tokens=10_000)
    seen = np.zeros(len(news.tokens), bool)
    for (a_start, a_end, b_start, b_end), random in zip(
        pairs.spans.tolist(), pairs.labels, strict=True
    ):
        seen[a_start:a_end] = True
        if not random:
            seen[b_start:b_end] = True
    assert seen.all()


def test_pairs_fit_and_begin_and_end_with_words(news):
    pairs = pack(news, max_tokens=60)
    spans = pairs.spans
    assert (spans[:, 1] > spans[:, 0]).all()
    assert (spans[:, 3] > spans[:, 2]).all()
    assert (spans[:, 1] - spans[:, 0] + spans[:, 3] - spans[:, 2] <= 60).all()
    assert news.word_starts[spans].all()


def test_documents_of_one_sentence_are_split_and_stay_balanced():
    documents = make_documents([[40]] * 1000, word=2)
    pairs = pack(documents, max_tokens=60)
    assert 0.46 < pairs.labels.mean() < 0.54


def test_a_single_document_has_no_random_next():
    pairs = pack(make_documents([[10, 10, 10]]), max_tokens=30, short_seq_prob=0)
    assert not pairs.labels.any()
    assert pairs.spans[:, 0].tolist() == [0]
    assert pairs.spans[:, 3].tolist() == [30]


def test_a_copy_of_the_document_is_no_random_next():
    pairs = pack(make_documents([[10, 10]] * 5, contents=[0] * 5))
    assert not pairs.labels.any()


def test_one_word_goes_with_a_random_next_or_is_counted():
    alone = pack(make_documents([[1]]))
    assert len(alone.spans) == 0
    assert alone.dropped_tokens == 1
    two = pack(make_documents([[1], [1]]))
    assert two.labels.tolist() == [True, True]
    assert two.spans.tolist() == [[0, 1, 1, 2], [1, 2, 0, 1]]


def test_single_sentence_is_split_at_a_clause():
    documents = make_documents([[20]])
    ends = np.zeros(20, bool)
    ends[6] = True
    pairs = packing.make_pairs(
        documents, ends, 60, 0.0, "nsp", np.random.default_rng(0)
    )
    assert pairs.spans.tolist() == [[0, 7, 7, 20]]


@pytest.mark.parametrize(
    ("a", "b", "kept"), [(100, 100, (6, 5)), (3, 100, (3, 8)), (100, 3, (8, 3))]
)
def test_truncation_takes_from_the_longer_side_as_google_does(a, b, kept):
    spans = np.array([[0, a, a, a + b]] * 50)
    starts = np.ones(a + b + 1, bool)
    short = packing.truncate_pairs(spans, starts, 11, np.random.default_rng(0))
    assert (short[:, 1] - short[:, 0] == kept[0]).all()
    assert (short[:, 3] - short[:, 2] == kept[1]).all()
    # From both ends: not always the same cut.
    assert len({tuple(row) for row in short.tolist()}) > 5


def test_truncation_leaves_what_fits_alone():
    spans = np.array([[0, 5, 5, 10]])
    short = packing.truncate_pairs(
        spans, np.ones(11, bool), 10, np.random.default_rng(0)
    )
    assert short.tolist() == spans.tolist()


def test_same_generator_same_pairs(news):
    np.testing.assert_array_equal(pack(news, seed=5).spans, pack(news, seed=5).spans)
    assert pack(news, seed=5).spans.tolist() != pack(news, seed=6).spans.tolist()


def test_sentence_order_swaps_half_of_the_pairs(news):
    pairs = pack(news, max_tokens=10_000, task="sop")
    assert 0.48 < pairs.labels.mean() < 0.52
    spans, swapped = pairs.spans, pairs.labels
    assert (spans[~swapped, 1] == spans[~swapped, 2]).all()
    # B ends where A begins: they are swapped.
    assert (spans[swapped, 3] == spans[swapped, 0]).all()
    covered = np.concatenate([np.arange(*span) for span in spans.reshape(-1, 2)])
    assert sorted(covered.tolist()) == list(range(len(news.tokens)))


def test_pairs_without_a_task_follow_each_other(news):
    pairs = pack(news, max_tokens=10_000, task="none")
    assert not pairs.labels.any()
    assert (pairs.spans[:, 1] == pairs.spans[:, 2]).all()
    # One word alone becomes a sequence without B; for a task it would be dropped.
    alone = make_documents([[1]])
    assert pack(alone, task="none").spans.tolist() == [[0, 1, 1, 1]]
    assert pack(alone, task="sop").dropped_tokens == 1


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

import numpy as np
import pytest

from data_prep.records import pairs as pairs_lib
from tests.data_prep.records.token_documents import make_documents, make_news


def pack(documents, seed=0, clause_ends=None, **rules):
    if clause_ends is None:
        clause_ends = np.zeros(len(documents.tokens), bool)
    defaults = {"max_tokens": 60, "short_seq_prob": 0.1, "sentence_task": "nsp"}
    rules = pairs_lib.PairRules(**(defaults | rules))
    return pairs_lib.make_pairs(
        documents, clause_ends, rules, np.random.default_rng(seed)
    )


def document_of(documents, tokens):
    borders = documents.segment_starts[documents.document_starts]
    return np.searchsorted(borders, tokens, "right") - 1


@pytest.fixture(scope="module")
def news():
    return make_news()


BOTH = pytest.mark.parametrize("truncation", ["none", "google"])


@BOTH
@pytest.mark.parametrize("max_tokens", [60, 125, 509])
def test_half_of_the_pairs_are_random_next(max_tokens, truncation):
    pairs = pack(make_news(6000), max_tokens=max_tokens, truncation=truncation)
    assert 0.475 < pairs.labels.mean() < 0.525
    if truncation == "none":
        assert 0.49 < pairs.labels.mean() < 0.51


@BOTH
def test_next_is_next_and_random_next_is_of_another_document(news, truncation):
    # Google's truncation has nothing to cut here.
    pairs = pack(news, max_tokens=10_000, truncation=truncation)
    assert pairs.truncated_tokens == 0
    assert_labels_are_true(news, pairs)


def assert_labels_are_true(documents, pairs):
    spans, random = pairs.spans, pairs.labels
    assert (spans[~random, 1] == spans[~random, 2]).all()
    of_a, of_b = (
        document_of(documents, spans[:, 0]),
        document_of(documents, spans[:, 2]),
    )
    assert (of_a[random] != of_b[random]).all()
    assert (of_a[~random] == of_b[~random]).all()
    assert (document_of(documents, spans[:, 3] - 1) == of_b).all()


def count_uses(documents, pairs) -> np.ndarray:
    """How often each token stands in an A, or in a B that follows its A."""
    uses = np.zeros(len(documents.tokens), int)
    for (a_start, a_end, b_start, b_end), random in zip(
        pairs.spans.tolist(), pairs.labels, strict=True
    ):
        uses[a_start:a_end] += 1
        if not random:
            uses[b_start:b_end] += 1
    return uses


@pytest.mark.parametrize("max_tokens", [12, 60, 509])
def test_every_token_is_in_a_pair_once_and_nothing_is_cut_off(news, max_tokens):
    pairs = pack(news, max_tokens=max_tokens)
    assert (count_uses(news, pairs) == 1).all()
    assert pairs.truncated_tokens == pairs.dropped_tokens == 0
    assert_labels_are_true(news, pairs)


@BOTH
@pytest.mark.parametrize("max_tokens", [12, 60])
def test_pairs_fit_and_begin_and_end_with_words(news, max_tokens, truncation):
    pairs = pack(news, max_tokens=max_tokens, truncation=truncation)
    spans = pairs.spans
    assert (spans[:, 1] > spans[:, 0]).all()
    assert (spans[:, 3] > spans[:, 2]).all()
    lengths = spans[:, 1] - spans[:, 0] + spans[:, 3] - spans[:, 2]
    assert lengths.max() <= max_tokens
    assert news.word_starts[spans].all()


def test_google_cuts_off_what_has_no_room(news):
    pairs = pack(news, truncation="google")
    uses = count_uses(news, pairs)
    assert pairs.truncated_tokens > 0.2 * len(news.tokens)
    assert 0.1 < (uses == 0).mean() < 0.4


def test_long_sentence_is_cut_at_a_clause_else_a_word():
    documents = make_documents([[600], [600]], word=4)
    clause_ends = np.arange(1200) % 600 % 48 == 47
    for ends, border in ((clause_ends, 48), (np.zeros(1200, bool), 4)):
        pairs = pack(
            documents, clause_ends=ends, short_seq_prob=0, sentence_task="none"
        )
        spans = pairs.spans
        assert (count_uses(documents, pairs) == 1).all()
        lengths = spans[:, 3] - spans[:, 0]
        # The last 24 tokens of 600 are over after twelve clauses.
        assert set(lengths.tolist()) <= ({48, 24} if border == 48 else {60})
        # A stretch that is one clause is split at a word.
        assert (spans % 4 == 0).all()


def test_clause_that_leaves_most_of_the_room_is_no_place_to_cut():
    documents = make_documents([[100]])
    clause_ends = np.zeros(100, bool)
    clause_ends[[9, 49]] = True
    pairs = pack(
        documents, clause_ends=clause_ends, short_seq_prob=0, sentence_task="none"
    )
    # At the clause that ends after 50 tokens, then at the end.
    assert pairs.spans[:, 3].tolist() == [50, 100]
    clause_ends[49] = False
    pairs = pack(
        documents, clause_ends=clause_ends, short_seq_prob=0, sentence_task="none"
    )
    assert pairs.spans[:, 3].tolist() == [60, 100]


def test_label_cannot_be_read_off_the_place_where_b_begins():
    documents = make_documents([[200]] * 300, word=2)
    pairs = pack(documents)
    assert 0.4 < pairs.labels.mean() < 0.6
    a_ends_inside, b_begins_inside = pairs.spans[:, 1:3].T % 200 != 0
    assert a_ends_inside.mean() > 0.9
    # A that makes room for a word of B is the exception.
    assert (a_ends_inside == b_begins_inside).mean() > 0.999


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
    pairs = pack(documents, clause_ends=ends, short_seq_prob=0)
    assert pairs.spans.tolist() == [[0, 7, 7, 20]]


@pytest.mark.parametrize(
    ("a", "b", "kept"), [(100, 100, (6, 5)), (3, 100, (3, 8)), (100, 3, (8, 3))]
)
def test_truncation_takes_from_the_longer_side_as_google_does(a, b, kept):
    spans = np.array([[0, a, a, a + b]] * 50)
    starts = np.ones(a + b + 1, bool)
    short = pairs_lib.truncate_pairs(spans, starts, 11, np.random.default_rng(0))
    assert (short[:, 1] - short[:, 0] == kept[0]).all()
    assert (short[:, 3] - short[:, 2] == kept[1]).all()
    # From both ends: not always the same cut.
    assert len({tuple(row) for row in short.tolist()}) > 5


def test_truncation_leaves_what_fits_alone():
    spans = np.array([[0, 5, 5, 10]])
    short = pairs_lib.truncate_pairs(
        spans, np.ones(11, bool), 10, np.random.default_rng(0)
    )
    assert short.tolist() == spans.tolist()


def test_same_generator_same_pairs(news):
    np.testing.assert_array_equal(pack(news, seed=5).spans, pack(news, seed=5).spans)
    assert pack(news, seed=5).spans.tolist() != pack(news, seed=6).spans.tolist()


def test_sentence_order_swaps_half_of_the_pairs():
    news = make_news(6000)
    pairs = pack(news, max_tokens=10_000, sentence_task="sop")
    assert 0.48 < pairs.labels.mean() < 0.52
    spans, swapped = pairs.spans, pairs.labels
    assert (spans[~swapped, 1] == spans[~swapped, 2]).all()
    # B ends where A begins: they are swapped.
    assert (spans[swapped, 3] == spans[swapped, 0]).all()
    covered = np.concatenate([np.arange(*span) for span in spans.reshape(-1, 2)])
    assert sorted(covered.tolist()) == list(range(len(news.tokens)))


def test_pairs_without_a_task_follow_each_other(news):
    pairs = pack(news, max_tokens=10_000, sentence_task="none")
    assert not pairs.labels.any()
    assert (pairs.spans[:, 1] == pairs.spans[:, 2]).all()
    # One word alone becomes a sequence without B; for a task it would be dropped.
    alone = make_documents([[1]])
    assert pack(alone, sentence_task="none").spans.tolist() == [[0, 1, 1, 1]]
    assert pack(alone, sentence_task="sop").dropped_tokens == 1

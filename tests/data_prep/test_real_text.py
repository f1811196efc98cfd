"""The promises of whole-word masking, checked on real text from the records alone."""

import numpy as np
import pytest
import tensorflow as tf

from data_prep.records import build, schema
from data_prep.records.settings import Settings
from data_prep.text import corpus, segmentation, tokenization, vocab

pytestmark = [pytest.mark.shared_data, pytest.mark.slow]

LENGTH, PREDICTIONS = 128, 20
# Token ids become characters, so that `str.find` finds the source of a sequence.
_FIRST_CHARACTER = 0x4000


@pytest.fixture(scope="module")
def vocabulary(shared_folder):
    return vocab.load_vocabulary(
        str(shared_folder / "data/vocab/chinese_L-12_H-768_A-12/vocab.txt")
    )


@pytest.fixture(scope="module")
def texts(shared_folder):
    path = shared_folder / "data/zh_wiki_simplified/cmrc_train_trial.txt"
    return [text for text, _ in corpus.read_documents(str(path))]


@pytest.fixture(scope="module")
def words_of_text(texts, vocabulary):
    """All text as one string of ids, and each token's word (rjieba's, per line).

    Each line ends with [PAD], which no text yields.
    """
    segmenter = segmentation.build_segmenter("rjieba")
    tokenizer = tokenization.Tokenizer(vocabulary, True)
    ids, words, last = [], [], 0
    for text in texts:
        lines = text.split("\n")
        found = tokenizer.tokenize(lines)
        for number, line in enumerate(lines):
            here = slice(*found.line_starts[number : number + 2])
            word_of = np.cumsum(segmenter(line)) + last
            ids += [found.ids[here]]
            words += [word_of[found.char_starts[here]]]
            last += len(line)
    return to_characters(np.concatenate(ids)), np.concatenate(words)


def to_characters(ids: np.ndarray) -> str:
    return (ids + _FIRST_CHARACTER).astype("<u4").tobytes().decode("utf-32-le")


@pytest.fixture(scope="module", params=["wwm", "ngram"])
def records(request, texts, vocabulary):
    settings = Settings(masking=request.param, dupe_factor=1)
    maker = build.BucketRecordMaker(settings, vocabulary)
    documents = [(text, 1) for text in texts]
    serialized = [r for block in maker.make(documents, 0) for r in block.records]
    parsed = tf.io.parse_example(serialized, schema.parsing_spec(LENGTH, PREDICTIONS))
    return {name: value.numpy() for name, value in parsed.items()}


@pytest.fixture(scope="module")
def restored(records):
    """input_ids before masking, and which tokens were chosen."""
    ids = records["input_ids"].copy()
    chosen = np.zeros(ids.shape, bool)
    rows, places = np.nonzero(records["masked_lm_weights"])
    columns = records["masked_lm_positions"][rows, places]
    ids[rows, columns] = records["masked_lm_ids"][rows, places]
    chosen[rows, columns] = True
    return ids, chosen


def test_segments_begin_and_end_with_words_that_are_masked_whole(
    restored, words_of_text, vocabulary
):
    ids, chosen = restored
    text, words = words_of_text
    begins = np.diff(words, prepend=-1, append=-1) != 0
    masked_words = segments = ambiguous = 0
    for row in range(len(ids)):
        seps = np.flatnonzero(ids[row] == vocabulary.sep_id)
        for start, end in ((1, seps[0]), (seps[0] + 1, seps[1])):
            segment = to_characters(ids[row, start:end])
            # Where the segment occurs in the text, beginning and ending with a word: a
            # short one at several places, where it may have other words.
            found = []
            place = text.find(segment)
            while place >= 0 and not any(found):
                if begins[place] and begins[place + end - start]:
                    number = words[place : place + end - start]
                    borders = np.flatnonzero(np.diff(number, prepend=-1))
                    whole = np.add.reduceat(chosen[row, start:end], borders)
                    sizes = np.diff(np.append(borders, end - start))
                    found.append(((whole == 0) | (whole == sizes)).all())
                place = text.find(segment, place + 1)
            assert any(found), (row, start, found)
            segments += 1
            masked_words += int(((whole > 0) & (sizes > 1)).sum())
            ambiguous += len(found) > 1
    assert segments == 2 * len(ids) > 30_000
    assert masked_words > 50_000
    assert ambiguous < 20


def test_budget_is_filled_and_never_overshot(records):
    lengths = records["input_mask"].sum(axis=1)
    budgets = np.clip(np.rint(0.15 * lengths), 1, PREDICTIONS)
    masked = records["masked_lm_weights"].sum(axis=1)
    assert (masked <= budgets).all()
    assert (masked == budgets).mean() >= 0.999


def test_labels_and_replacements_are_live(records, restored, vocabulary):
    ids, chosen = restored
    special = [vocabulary.ids[token] for token in vocab.REQUIRED_TOKENS]
    assert not np.isin(ids[chosen], special).any()
    np.testing.assert_array_equal(records["input_ids"][~chosen], ids[~chosen])
    found = records["input_ids"][chosen]
    other = (found != ids[chosen]) & (found != vocabulary.mask_id)
    replacements = [vocabulary.tokens[token] for token in found[other].tolist()]
    assert len(replacements) > 20_000
    for token in set(replacements):
        assert not (token.startswith("[") and len(token) > 1), token
        assert not (token.startswith("##") and vocab.is_han(token[2:3])), token
    assert abs((found == vocabulary.mask_id).mean() - 0.8) < 0.005
    assert abs(other.mean() - 0.1) < 0.005

import numpy as np
import pytest

from data_prep.text import added_words, tokenization

WORDS = ("深度", "深度学习", "T恤", "卡拉OK")


@pytest.fixture
def vocabulary(make_vocabulary):
    return make_vocabulary(*"深度学习的我爱", "ok", "##s", "s", "t", *WORDS)


def tokenize(vocabulary, lines, do_lower_case=True):
    """Return (token, start, end) of each line's tokens."""
    found = tokenization.Tokenizer(vocabulary, do_lower_case).tokenize(lines)
    columns = zip(
        (vocabulary.tokens[index] for index in found.ids),
        found.char_starts.tolist(),
        found.char_ends.tolist(),
        strict=True,
    )
    tokens = list(columns)
    bounds = found.line_starts.tolist()
    return [tokens[a:b] for a, b in zip(bounds[:-1], bounds[1:], strict=True)]


def test_longest_word_from_the_left_is_one_token(vocabulary):
    assert tokenize(vocabulary, ["我爱深度学习的 深度。", "", "爱T恤"]) == [
        [
            ("我", 0, 1),
            ("爱", 1, 2),
            ("深度学习", 2, 6),
            ("的", 6, 7),
            ("深度", 8, 10),
            ("[UNK]", 10, 11),
        ],
        [],
        [("爱", 0, 1), ("T恤", 1, 3)],
    ]


@pytest.mark.parametrize("lines", [[], [""], ["深度学习"], ["", "深度深度学"]])
def test_lines_of_nothing_else_are_tokenized(vocabulary, lines):
    found = tokenization.Tokenizer(vocabulary, True).tokenize(lines)
    assert len(found.line_starts) == len(lines) + 1
    assert found.line_starts[-1] == len(found.ids)
    assert found.word_starts.all()


def test_what_stands_beside_a_word_is_a_word_of_its_own(vocabulary):
    assert tokenize(vocabulary, ["ok卡拉OKs"]) == [
        [("ok", 0, 2), ("卡拉OK", 2, 6), ("s", 6, 7)]
    ]


def test_vocabulary_without_such_words_is_tokenized_as_by_google(make_vocabulary):
    vocabulary = make_vocabulary(*"深度学习", "##度学", "[深度]")
    assert not list(filter(added_words.is_added_word, vocabulary.tokens))
    assert [token for token, *_ in tokenize(vocabulary, ["深度学习"])[0]] == list(
        "深度学习"
    )


def test_words_may_stand_in_for_a_masked_token(vocabulary):
    live = {vocabulary.tokens[index] for index in vocabulary.replacement_ids}
    assert set(WORDS) <= live


def test_words_take_the_unused_places_and_then_the_end(make_vocabulary):
    old = make_vocabulary("[unused1]", "深", "[unused2]", "度")
    new = added_words.extend_vocabulary(old, ["深度", "transformer", "度深"])
    assert new.tokens[5:] == ("深度", "深", "transformer", "度", "度深")
    assert new.data.decode().split("\n")[5:] == [*new.tokens[5:], ""]
    fewer = added_words.extend_vocabulary(old, ["深度"])
    assert fewer.tokens[5:] == ("深度", "深", "[unused2]", "度")


@pytest.mark.parametrize(
    ("words", "saying"),
    [
        (["深"], "'深' is in the vocabulary already"),
        (["新词", "新词"], "'新词' is in the vocabulary already, or twice"),
        (["##新"], "'##新' looks like a part of a word"),
        (["covid-19"], "'covid-19' is split at its punctuation"),
    ],
)
def test_words_that_cannot_be_added_are_refused(make_vocabulary, words, saying):
    with pytest.raises(ValueError, match=saying):
        added_words.extend_vocabulary(make_vocabulary("深"), words)


def test_words_are_read_from_a_dictionary_too(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("\ufeff深度学习 3 n\n\n新词\r\n", encoding="utf-8")
    assert added_words.load_words(str(path)) == ["深度学习", "新词"]
    path.write_text(" \n")
    with pytest.raises(ValueError, match="holds no word"):
        added_words.load_words(str(path))
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="--add_words=.*cannot be read"):
        added_words.load_words(str(path))


def test_offsets_agree_with_transformers(vocabulary, tmp_path):
    """The same tokens and offsets on random lines, where all words are known."""
    tokenizers = pytest.importorskip("tokenizers")
    from bert_cn.conversion import tokenizer_files

    fast = tokenizer_files.build_fast_tokenizer(vocabulary, True)
    generator = np.random.default_rng(7)
    symbols = [*"深度学习的我爱 。", "ok", "T恤", "卡拉OK", "s"]
    lines = ["".join(generator.choice(symbols, 30)) for _ in range(300)]
    for line, ours in zip(lines, tokenize(vocabulary, lines), strict=True):
        theirs = fast.encode(line, add_special_tokens=False)
        assert [token for token, *_ in ours] == theirs.tokens
        assert [(start, end) for _, start, end in ours] == theirs.offsets
    assert tokenizers.__version__

import json
import pathlib

import numpy as np
import pytest
import tokenizers

from data_prep.text import tokenization, vocab

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
SAMPLE = pathlib.Path(__file__).parents[3] / "data_prep" / "sample_corpus"


def tokens_of(vocabulary, result, line=0):
    start, end = result.line_starts[line : line + 2]
    return [vocabulary.tokens[i] for i in result.ids[start:end]]


def spans_of(result, line=0):
    start, end = result.line_starts[line : line + 2]
    starts, ends = result.char_starts[start:end], result.char_ends[start:end]
    return list(zip(starts.tolist(), ends.tolist(), strict=True))


def test_golden_sentence_gives_pieces_and_offsets(make_vocabulary):
    vocabulary = make_vocabulary(
        *"使用语言模型来预测下一个词的。", "pro", "##ba", "##bility"
    )
    line = "使用语言模型来预测下一个词的probability。"
    result = tokenization.Tokenizer(vocabulary, True).tokenize([line])
    assert tokens_of(vocabulary, result) == [
        *"使用语言模型来预测下一个词的",
        "pro",
        "##ba",
        "##bility",
        "。",
    ]
    singles = [(i, i + 1) for i in range(14)]
    assert spans_of(result) == [*singles, (14, 17), (17, 19), (19, 25), (25, 26)]
    # Only ##ba and ##bility continue a word.
    assert np.flatnonzero(~result.word_starts).tolist() == [15, 16]


def test_offsets_count_in_the_original_line_where_characters_vanish(make_vocabulary):
    vocabulary = make_vocabulary("ab", "##cd", "模", "型")
    line = " A\u00adb\u0301CD\u200b 模\ufffd型"
    result = tokenization.Tokenizer(vocabulary, True).tokenize([line])
    assert tokens_of(vocabulary, result) == ["ab", "##cd", "模", "型"]
    assert spans_of(result) == [(1, 4), (5, 7), (9, 10), (11, 12)]


def test_offsets_of_a_line_whose_characters_fall_apart(make_vocabulary):
    # 한 is three letters after NFD; the small sigma at the end is its final form.
    vocabulary = make_vocabulary("α", "##ς", "\u1112\u1161\u11ab")
    result = tokenization.Tokenizer(vocabulary, True).tokenize(["x", "ΑΣ 한!", ""])
    assert tokens_of(vocabulary, result, 1) == [
        "α",
        "##ς",
        "\u1112\u1161\u11ab",
        "[UNK]",
    ]
    assert spans_of(result, 1) == [(0, 1), (1, 2), (3, 4), (4, 5)]
    assert tokens_of(vocabulary, result, 0) == ["[UNK]"]
    assert tokens_of(vocabulary, result, 2) == []


def test_names_of_special_tokens_in_text_stay_text(make_vocabulary):
    vocabulary = make_vocabulary("[", "]", "mask", "cls")
    result = tokenization.Tokenizer(vocabulary, True).tokenize(["[MASK][CLS]"])
    assert tokens_of(vocabulary, result) == ["[", "mask", "]", "[", "cls", "]"]


def test_word_over_200_characters_is_unknown(make_vocabulary):
    vocabulary = make_vocabulary("a", "##a")
    result = tokenization.Tokenizer(vocabulary, True).tokenize(["a" * 200, "a" * 201])
    assert tokens_of(vocabulary, result, 0) == ["a"] + ["##a"] * 199
    assert tokens_of(vocabulary, result, 1) == ["[UNK]"]
    assert spans_of(result, 1) == [(0, 201)]


def test_no_lines_give_no_tokens(make_vocabulary):
    result = tokenization.Tokenizer(make_vocabulary(), True).tokenize([])
    assert len(result.ids) == 0
    assert result.line_starts.tolist() == [0]


@pytest.mark.parametrize(("name", "lower"), [("cased", False), ("uncased", True)])
def test_hard_lines_give_the_ids_of_googles_tokenizer(name, lower):
    cases = json.loads((GOLDEN / "hard_lines.json").read_text(encoding="ascii"))
    vocabulary = vocab.load_vocabulary(str(GOLDEN / "vocab.txt"))
    tokenizer = tokenization.Tokenizer(vocabulary, lower)
    together = tokenizer.tokenize([case["line"] for case in cases])
    for number, case in enumerate(cases):
        start, end = together.line_starts[number : number + 2]
        assert together.ids[start:end].tolist() == case[name], ascii(case["line"])
        alone = tokenizer.tokenize([case["line"]])
        assert alone.ids.tolist() == case[name], ascii(case["line"])


@pytest.mark.parametrize("lower", [False, True])
def test_remembered_words_may_be_forgotten(monkeypatch, make_vocabulary, lower):
    monkeypatch.setattr(tokenization, "_MAX_REMEMBERED_WORDS", 1)
    vocabulary = make_vocabulary("ab", "##c", "cd")
    tokenizer = tokenization.Tokenizer(vocabulary, lower)
    for _ in range(2):
        result = tokenizer.tokenize(["abc cd ab xx"])
        assert tokens_of(vocabulary, result) == ["ab", "##c", "cd", "ab", "[UNK]"]


def reference(path: str, lower: bool) -> tokenizers.Tokenizer:
    """Build the same rules from the tokenizers library, special tokens left out."""
    ids = vocab.load_vocabulary(path).ids
    model = tokenizers.models.WordPiece(
        ids, unk_token="[UNK]", max_input_chars_per_word=200
    )
    built = tokenizers.Tokenizer(model)
    built.normalizer = tokenizers.normalizers.BertNormalizer(
        lowercase=lower, strip_accents=lower
    )
    built.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    return built


def check_equal(path: str, lines: list[str], lower: bool) -> None:
    result = tokenization.Tokenizer(vocab.load_vocabulary(path), lower).tokenize(lines)
    wanted = reference(path, lower).encode_batch_fast(lines, add_special_tokens=False)
    for number, encoding in enumerate(wanted):
        start, end = result.line_starts[number : number + 2]
        assert result.ids[start:end].tolist() == encoding.ids, lines[number]


@pytest.mark.parametrize("lower", [False, True])
def test_sample_corpus_equals_the_tokenizers_library(lower):
    lines = [
        line
        for path in sorted(SAMPLE.glob("*.txt"))
        for line in path.read_text(encoding="utf-8").split("\n")
    ]
    check_equal(str(GOLDEN / "vocab.txt"), lines, lower)


@pytest.mark.shared_data
@pytest.mark.slow
@pytest.mark.parametrize("lower", [False, True])
@pytest.mark.parametrize(
    "name",
    [
        "zh_wiki_simplified/cmrc_train_trial.txt",
        "zh_wiki_traditional/drcd_dev_test.txt",
        "glue/SST-2/dev.tsv",
        "glue/CoLA/dev.tsv",
    ],
)
def test_real_text_equals_the_tokenizers_library(shared_folder, name, lower):
    path = shared_folder / "data/vocab/chinese_L-12_H-768_A-12/vocab.txt"
    text = (shared_folder / "data" / name).read_bytes().decode("utf-8")
    lines = text.split("\n")
    check_equal(str(path), lines, lower)

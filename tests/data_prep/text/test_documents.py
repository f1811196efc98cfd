import numpy as np
import pytest

from data_prep.text import documents as documents_lib
from data_prep.text import segmentation, tokenization, vocab

GOLDEN = "使用语言模型来预测下一个词的probability。"


def words_of(vocabulary, tokenized) -> list[str]:
    tokens = [vocabulary.tokens[i] for i in tokenized.tokens]
    places = np.flatnonzero(tokenized.word_starts).tolist()
    return ["+".join(tokens[a:b]) for a, b in zip(places, places[1:], strict=False)]


@pytest.fixture
def tokenize(make_vocabulary):
    def run(texts, tokens, segmenter="rjieba", max_segment_tokens=100):
        vocabulary = make_vocabulary(*tokens)
        tokenizer = documents_lib.DocumentTokenizer(
            vocabulary,
            True,
            segmentation.build_segmenter(segmenter),
            max_segment_tokens,
        )
        return vocabulary, tokenizer.tokenize(texts)

    return run


def test_golden_sentence_gives_whole_words(tokenize):
    tokens = [*"使用语言模型来预测下一个词的。", "pro", "##ba", "##bility"]
    vocabulary, tokenized = tokenize([GOLDEN], tokens)
    assert words_of(vocabulary, tokenized) == [
        "使+用",
        "语+言",
        "模+型",
        "来",
        "预+测",
        "下",
        "一+个",
        "词",
        "的",
        "pro+##ba+##bility",
        "。",
    ]


def test_mixed_word_is_one_word(tokenize):
    tokens = [*"卡拉打印好", "ok", "3d"]
    vocabulary, tokenized = tokenize(["卡拉OK 3D打印 好"], tokens, "whitespace")
    assert words_of(vocabulary, tokenized) == ["卡+拉+ok", "3d+打+印", "好"]


def test_word_cut_inside_a_piece_stays_one_word(tokenize):
    # A segmenter that cuts after every second character: ab|cd|e.
    vocabulary, tokenized = tokenize(["abcde 模"], ["abc", "##de", "模"], "none")
    assert words_of(vocabulary, tokenized) == ["abc+##de", "模"]


def test_segmenter_none_leaves_wordpiece_words(tokenize):
    vocabulary, tokenized = tokenize(["模型ab"], ["模", "型", "a", "##b"], "none")
    assert words_of(vocabulary, tokenized) == ["模", "型", "a+##b"]


def test_documents_sentences_and_copies_are_marked(tokenize):
    texts = ["模型\n型", "\u200b", "模", "模"]
    _, tokenized = tokenize(texts, ["模", "型"], "none")
    assert tokenized.segment_starts.tolist() == [0, 2, 3, 4, 5]
    # The second document has no token; the last two are equal.
    assert tokenized.document_starts.tolist() == [0, 2, 3, 4]
    assert tokenized.contents.tolist() == [0, 2, 2]
    assert tokenized.counts["documents"] == 4
    assert tokenized.counts["sentences"] == 5
    assert tokenized.counts["characters"] == 6
    assert tokenized.counts["tokens"] == 5


def test_batches_do_not_change_the_result(tokenize, monkeypatch):
    texts = [f"模型{'型' * n}\n模" for n in range(7)]
    _, whole = tokenize(texts, ["模", "型"])
    monkeypatch.setattr(documents_lib, "_BATCH_CHARACTERS", 4)
    _, pieces = tokenize(texts, ["模", "型"])
    for name in (
        "tokens",
        "word_starts",
        "segment_starts",
        "document_starts",
        "contents",
    ):
        np.testing.assert_array_equal(getattr(whole, name), getattr(pieces, name))


def test_long_sentence_is_cut_at_a_sentence_end_then_clause_then_word(tokenize):
    tokens = [*"甲乙。，"]
    for text, cuts in (
        ("甲甲甲甲甲。甲，甲甲甲甲", [0, 6, 12]),
        ("甲甲甲甲甲甲，甲甲甲甲甲", [0, 7, 12]),
        ("甲甲甲甲甲甲甲甲甲甲甲甲", [0, 8, 12]),
    ):
        _, tokenized = tokenize([text], tokens, "none", max_segment_tokens=8)
        assert tokenized.segment_starts.tolist() == cuts, text
        assert tokenized.counts["sentences_cut"] == 1
        assert len(tokenized.tokens) == len(text)


def test_long_word_falls_into_pieces(tokenize):
    # At most a quarter of 8 tokens: "abc" stays, the run of 甲 does not.
    vocabulary, tokenized = tokenize(
        ["甲甲甲甲 ab乙"], ["甲", "a", "##b", "乙"], "whitespace", max_segment_tokens=8
    )
    assert words_of(vocabulary, tokenized) == ["甲", "甲", "甲", "甲", "a+##b", "乙"]
    assert tokenized.counts["words_cut"] == 2


def test_no_documents_give_empty_arrays(tokenize):
    _, tokenized = tokenize([], ["模"])
    assert len(tokenized.tokens) == 0
    assert tokenized.counts["documents"] == 0


@pytest.mark.shared_data
@pytest.mark.slow
def test_every_word_of_real_text_stays_whole(shared_folder):
    vocabulary = vocab.load_vocabulary(
        str(shared_folder / "data/vocab/chinese_L-12_H-768_A-12/vocab.txt")
    )
    path = shared_folder / "data/zh_wiki_simplified/cmrc_train_trial.txt"
    lines = path.read_bytes().decode("utf-8").split("\n")
    documents = [line for line in lines if line.strip()]
    segmenter = segmentation.build_segmenter("rjieba")
    tokenized = documents_lib.DocumentTokenizer(
        vocabulary, True, segmenter, 10_000
    ).tokenize(documents)
    offsets = tokenization.Tokenizer(vocabulary, True).tokenize(documents)
    marked = np.cumsum(tokenized.word_starts[:-1])
    words = whole = 0
    for number, document in enumerate(documents):
        first, last = offsets.line_starts[number : number + 2]
        word_of = np.cumsum(segmenter(document))[offsets.char_starts[first:last]]
        borders = np.flatnonzero(np.diff(word_of, prepend=-1, append=-1))
        for begin, end in zip(borders, borders[1:], strict=False):
            ids = offsets.ids[first + begin : first + end]
            if end - begin > 1 and vocabulary.unk_id not in ids:
                words += 1
                whole += len(set(marked[first + begin : first + end].tolist())) == 1
    assert words > 390_000
    assert whole == words

import dataclasses
import hashlib

import numpy as np
import pytest
import tensorflow as tf

from data_prep.records import build, schema
from data_prep.records.settings import Settings
from data_prep.text import corpus, segmentation, vocab
from tests.conftest import REPOSITORY

SAMPLE = REPOSITORY / "data_prep" / "sample_corpus"
GOLDEN = "使用语言模型来预测下一个词的probability。"


def make(settings, vocabulary, texts, bucket=0):
    maker = build.BucketRecordMaker(settings, vocabulary)
    blocks = list(maker.make([(text, 1) for text in texts], bucket))
    records = [record for block in blocks for record in block.records]
    assert blocks[-1].done in (0.0, 1.0)
    spec = schema.parsing_spec(
        settings.max_seq_length, settings.max_predictions_per_seq
    )
    if not records:
        return {}
    parsed = tf.io.parse_example(records, spec)
    return {name: value.numpy() for name, value in parsed.items()}


@pytest.fixture(scope="module")
def sample():
    """Documents of the sample corpus, and a vocabulary of all but one in 50 letters."""
    texts = [
        text
        for path in sorted(SAMPLE.glob("*.txt"))
        for text, _ in corpus.read_documents(str(path))
    ]
    letters = sorted(set("".join(texts).lower()) - {" ", "\n"})
    letters = [letter for n, letter in enumerate(letters) if n % 50]
    pieces = ["##" + letter for letter in letters if letter.isascii()]
    special = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    tokens = (*special, *letters, *pieces)
    return texts, vocab.Vocabulary(tokens, "test", "\n".join(tokens).encode())


@pytest.fixture(scope="module")
def records(sample):
    settings = Settings(masking="wwm", dupe_factor=2)
    return make(settings, sample[1], sample[0])


def restore(records) -> np.ndarray:
    """Put the labels back into input_ids."""
    ids = records["input_ids"].copy()
    rows, places = np.nonzero(records["masked_lm_weights"])
    columns = records["masked_lm_positions"][rows, places]
    ids[rows, columns] = records["masked_lm_ids"][rows, places]
    return ids


def test_golden_sentence_is_masked_by_whole_words(make_vocabulary):
    vocabulary = make_vocabulary(
        *"使用语言模型来预测下一个词的。", "pro", "##ba", "##bility"
    )
    settings = Settings(
        masking="wwm", dupe_factor=200, max_seq_length=32, masked_lm_prob=0.2
    )
    records = make(settings, vocabulary, [GOLDEN, "下\n一"])
    ids = restore(records)
    chosen = np.zeros(ids.shape, bool)
    rows, places = np.nonzero(records["masked_lm_weights"])
    chosen[rows, records["masked_lm_positions"][rows, places]] = True
    together = 0
    for word in ("模型", "预测", "使用", "语言", "一个", ("pro", "##ba", "##bility")):
        pieces = [vocabulary.ids[piece] for piece in word]
        windows = np.lib.stride_tricks.sliding_window_view(ids, len(pieces), axis=1)
        marks = np.lib.stride_tricks.sliding_window_view(chosen, len(pieces), axis=1)
        found = marks[(windows == pieces).all(axis=2)]
        assert len(found)
        assert (found.all(axis=1) == found.any(axis=1)).all(), word
        together += int(found.all(axis=1).sum())
    assert together > 50


def test_rate_of_one_masks_every_known_token(make_vocabulary):
    vocabulary = make_vocabulary(*"使用语言模型")
    settings = Settings(
        masking="wwm",
        dupe_factor=1,
        masked_lm_prob=1.0,
        max_seq_length=16,
        max_predictions_per_seq=16,
    )
    # 框 is not in the vocabulary, so it is no label; nor is [CLS] or [SEP].
    records = make(settings, vocabulary, ["使用 框\n语言 模型"])
    ids = restore(records)[0].tolist()
    tokens = [vocabulary.tokens[i] for i in ids if i]
    assert tokens == [*"[CLS] 使 用 [UNK] [SEP] 语 言 模 型 [SEP]".split()]
    masked = records["masked_lm_positions"][0][records["masked_lm_weights"][0] > 0]
    assert masked.tolist() == [1, 2, 5, 6, 7, 8]
    assert records["next_sentence_labels"].tolist() == [[0]]
    assert records["segment_ids"][0].tolist() == [0] * 5 + [1] * 5 + [0] * 6
    assert records["input_mask"][0].tolist() == [1] * 10 + [0] * 6


def test_records_are_well_formed(records, sample):
    vocabulary = sample[1]
    lengths = records["input_mask"].sum(axis=1)
    ids = restore(records)
    rows = np.arange(len(ids))
    assert (records["input_mask"] == (np.arange(128) < lengths[:, None])).all()
    assert (ids[:, 0] == vocabulary.cls_id).all()
    assert (ids[rows, lengths - 1] == vocabulary.sep_id).all()
    assert ((ids == vocabulary.sep_id).sum(axis=1) == 2).all()
    assert ((ids == vocabulary.pad_id) == (records["input_mask"] == 0)).all()
    assert (ids != vocabulary.mask_id).all()
    first_sep = (ids == vocabulary.sep_id).argmax(axis=1)
    columns = np.arange(128)
    after = (columns > first_sep[:, None]) & (columns < lengths[:, None])
    assert (records["segment_ids"] == after).all()


def test_labels_are_known_text_within_budget(records, sample):
    vocabulary = sample[1]
    weights = records["masked_lm_weights"]
    labels = records["masked_lm_ids"][weights > 0]
    special = [vocabulary.pad_id, vocabulary.unk_id, vocabulary.cls_id]
    assert not np.isin(labels, [*special, vocabulary.sep_id, vocabulary.mask_id]).any()
    assert (records["masked_lm_ids"][weights == 0] == 0).all()
    lengths = records["input_mask"].sum(axis=1)
    budgets = np.clip(np.rint(0.15 * lengths), 1, 20)
    assert (weights.sum(axis=1) <= budgets).all()
    assert (weights.sum(axis=1) == budgets).mean() > 0.99
    replaced = records["input_ids"][restore(records) != records["input_ids"]]
    allowed = {vocabulary.mask_id, *vocabulary.replacement_ids.tolist()}
    assert set(replaced.tolist()) <= allowed


def test_sequences_begin_and_end_with_words(records, sample):
    texts, vocabulary = sample
    segment = segmentation.build_segmenter("rjieba")
    # Characters that never begin a word anywhere in the text.
    text = "\n".join(texts)
    starts = [*np.flatnonzero(segment(text)).tolist(), len(text)]
    words = [text[a:b] for a, b in zip(starts, starts[1:], strict=False)]
    first, inside = {w[0] for w in words}, {c for w in words for c in w[1:]}
    never_first = [
        vocabulary.ids[char]
        for char in inside - first
        if char in vocabulary.ids and vocab.is_han(char)
    ]
    assert len(never_first) > 50
    ids = restore(records)
    assert not np.isin(ids[:, 1], never_first).any()
    second = (ids == vocabulary.sep_id).argmax(axis=1) + 1
    assert not np.isin(ids[np.arange(len(ids)), second], never_first).any()


def test_labels_of_random_next_are_balanced(sample):
    settings = Settings(masking="wwm", dupe_factor=5)
    labels = make(settings, sample[1], sample[0])["next_sentence_labels"]
    assert 0.48 < labels.mean() < 0.52


def test_without_whole_words_tokens_are_chosen_alone(sample):
    texts, vocabulary = sample
    settings = Settings(masking="token", dupe_factor=1)
    records = make(settings, vocabulary, texts)
    positions, weights = records["masked_lm_positions"], records["masked_lm_weights"]
    both = (weights[:, 1:] > 0) & (weights[:, :-1] > 0)
    neighbours = (np.diff(positions, axis=1) == 1)[both].mean()
    assert 0.1 < neighbours < 0.2
    budgets = np.clip(np.rint(0.15 * records["input_mask"].sum(axis=1)), 1, 20)
    assert (weights.sum(axis=1) == budgets).mean() > 0.999


def test_bucket_and_seed_decide_every_byte(sample):
    texts, vocabulary = sample
    settings = Settings(dupe_factor=1)

    def run(seed, bucket):
        maker = build.BucketRecordMaker(
            Settings(dupe_factor=1, random_seed=seed), vocabulary
        )
        documents = [(text, 1) for text in texts[:20]]
        return [r for block in maker.make(documents, bucket) for r in block.records]

    assert run(1, 0) == run(1, 0)
    assert run(1, 0) != run(2, 0)
    assert run(1, 0) != run(1, 1)
    assert settings.random_seed == 12345


def test_empty_bucket_gives_no_records(make_vocabulary):
    assert make(Settings(), make_vocabulary("模"), []) == {}


@pytest.mark.parametrize(
    ("packing", "expected"),
    [
        ("full_sentences", ["[CLS] 使 用 语 言 [SEP] 模 型 [SEP]"]),
        ("lines", ["[CLS] 使 用 [SEP]", "[CLS] 语 言 [SEP]", "[CLS] 模 型 [SEP]"]),
    ],
)
def test_sequences_of_one_part_have_one_segment(make_vocabulary, packing, expected):
    vocabulary = make_vocabulary(*"使用语言模型")
    settings = Settings(
        sentence_task="none",
        packing=packing,
        masking="wwm",
        dupe_factor=1,
        masked_lm_prob=1.0,
        max_seq_length=9,
        max_predictions_per_seq=9,
    )
    records = make(settings, vocabulary, ["使用\n语言", "模型"])
    ids = restore(records)
    found = [" ".join(vocabulary.tokens[i] for i in row if i) for row in ids]
    assert sorted(found) == sorted(expected)
    assert not records["segment_ids"].any()
    assert not records["next_sentence_labels"].any()
    # No special token is a label, the [SEP] between documents no more than the last.
    assert records["masked_lm_weights"].sum() == 6
    tokens = [vocabulary.ids[token] for token in "使用语言模型"]
    labels = records["masked_lm_ids"][records["masked_lm_weights"] > 0]
    assert sorted(labels.tolist()) == tokens


def test_full_sentences_leave_little_padding(sample):
    settings = Settings(sentence_task="none", packing="full_sentences", dupe_factor=2)
    records = make(settings, sample[1], sample[0])
    assert records["input_mask"].mean() > 0.85
    # Copies differ in their masks.
    ids = records["input_ids"]
    assert len({tuple(row) for row in ids.tolist()}) == len(ids)


def test_sentence_order_labels_are_balanced(sample):
    settings = Settings(sentence_task="sop", dupe_factor=5)
    labels = make(settings, sample[1], sample[0])["next_sentence_labels"]
    assert 0.46 < labels.mean() < 0.54


def words_masked(settings, vocabulary, texts) -> set[str]:
    """Runs of text that are masked in some record where one word is masked."""
    records = make(settings, vocabulary, texts)
    ids = restore(records)
    found = set()
    for row, positions in zip(ids, records["masked_lm_positions"], strict=True):
        tokens = [vocabulary.tokens[row[column]] for column in positions if column]
        found.add("".join(tokens))
    return found


def test_traditional_words_are_found_and_the_original_is_masked(make_vocabulary):
    text = "國際貿易發展"
    vocabulary = make_vocabulary(*text)
    settings = Settings(
        masking="wwm",
        sentence_task="none",
        packing="lines",
        dupe_factor=50,
        masked_lm_prob=0.5,
        max_seq_length=32,
    )
    # Half of eight tokens. jieba knows 国际贸易 and 发展, of the original only 國際.
    assert words_masked(settings, vocabulary, [text]) == {"國際貿易"}
    settings = dataclasses.replace(settings, traditional="no")
    found = words_masked(settings, vocabulary, [text])
    assert found == {"國際貿易", "國際發展", "貿易發展"}


def test_user_words_count_in_traditional_text_too(make_vocabulary, tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("語言模型\n", encoding="utf-8")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    settings = Settings(
        masking="wwm",
        sentence_task="none",
        packing="lines",
        dupe_factor=200,
        masked_lm_prob=4 / 11,
        max_seq_length=32,
        user_dict=str(path),
        user_dict_sha256=sha256,
    )
    vocabulary = make_vocabulary(*"使用語言模型來預測")
    found = words_masked(settings, vocabulary, ["使用語言模型來預測"])
    assert found == {"語言模型", "使用預測"}
    path.write_text("別的\n", encoding="utf-8")
    with pytest.raises(ValueError, match="has changed since the run began"):
        make(settings, vocabulary, ["使用"])


def test_fixed_punctuation_is_in_the_record_and_counted(make_vocabulary):
    vocabulary = make_vocabulary(*'使用语言模型"-')
    settings = Settings(
        sentence_task="none", packing="lines", dupe_factor=1, max_seq_length=16
    )
    text = "“使用”——语言…"
    settings = dataclasses.replace(settings, fix_punctuation=True)
    maker = build.BucketRecordMaker(settings, vocabulary)
    counts = next(iter(maker.make([(text, 1)], 0))).counts
    assert counts["punctuation_fixed"] == 4
    ids = restore(make(settings, vocabulary, [text]))[0]
    tokens = [vocabulary.tokens[i] for i in ids if i]
    assert tokens == ["[CLS]", *'"使用"--语言', "[UNK]", "[SEP]"]

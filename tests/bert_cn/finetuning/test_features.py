import numpy as np
import pytest

from bert_cn.finetuning import features as features_lib
from data_prep.text import tokenization, vocab

# Ids: [PAD] 0, [UNK] 1, [CLS] 2, [SEP] 3, [MASK] 4, then one letter each.
TOKENS = (*vocab.REQUIRED_TOKENS, *"abcdefgh")
VOCABULARY = vocab.Vocabulary(TOKENS, "test", "\n".join(TOKENS).encode())
TOKENIZER = tokenization.Tokenizer(VOCABULARY, do_lower_case=False)


def encode(texts, pairs, length):
    return features_lib.encode_texts(texts, pairs, TOKENIZER, VOCABULARY, length)


def rows(sequences, name):
    return [
        sequences.tokens[name][start:end].tolist()
        for start, end in zip(sequences.starts, sequences.starts[1:], strict=False)
    ]


def test_single_texts_are_encoded_and_cut():
    sequences, cut = encode(["a b", "", "a b c d e"], None, 5)

    assert rows(sequences, "token_ids") == [[2, 5, 6, 3], [2, 3], [2, 5, 6, 7, 3]]
    assert not sequences.tokens["segment_ids"].any()
    assert sequences.lengths.tolist() == [4, 2, 5]
    assert cut == 1


def test_second_texts_are_in_segment_1():
    sequences, cut = encode(["a"], ["b c"], 8)

    assert rows(sequences, "token_ids") == [[2, 5, 3, 6, 7, 3]]
    assert rows(sequences, "segment_ids") == [[0, 0, 0, 1, 1, 1]]
    assert cut == 0


def truncate_as_google(first, second, room):
    """The rule of google-research/bert, one token at a time."""
    while len(first) + len(second) > room:
        (first if len(first) > len(second) else second).pop()
    return first, second


@pytest.mark.parametrize("length", [4, 5, 6, 9, 10])
def test_pairs_are_cut_as_google_cuts_them(length):
    counts = [(a, b) for a in range(7) for b in range(7)]
    texts = [" ".join("abcdefg"[:a]) for a, _ in counts]
    pairs = [" ".join("hgfedcb"[:b]) for _, b in counts]

    sequences, cut = encode(texts, pairs, length)

    expected = []
    for text, pair in zip(texts, pairs, strict=True):
        kept = truncate_as_google(text.split(), pair.split(), length - 3)
        first, second = ([TOKENS.index(token) for token in part] for part in kept)
        expected.append([2, *first, 3, *second, 3])
    assert rows(sequences, "token_ids") == expected
    assert cut == sum(a + b > length - 3 for a, b in counts)


def test_sequences_made_one_by_one_are_joined():
    made = [
        {"token_ids": np.array([2, 5, 3]), "tags": np.array([0, 1, 0])},
        {"token_ids": np.array([2, 3]), "tags": np.array([0, 0])},
    ]

    sequences = features_lib.join_sequences(made)

    assert sequences.starts.tolist() == [0, 3, 5]
    assert sequences.tokens["tags"].tolist() == [0, 1, 0, 0, 0]


def make_features():
    left, _ = encode(["a b c", "d"], None, 8)
    right, _ = encode(["e", "f g"], None, 8)
    labels = np.array([1.5, 2.5], np.float32)
    return features_lib.Features({"a_": left, "b_": right}, {"score": labels})


def test_features_come_back_from_the_cache(tmp_path):
    fingerprint = features_lib.compute_fingerprint(b"data", length=8)
    made = []

    def encode_once():
        made.append(make_features())
        return made[-1]

    for _ in range(2):
        found = features_lib.load_or_encode(
            str(tmp_path / "cache"), "train", fingerprint, encode_once
        )

    assert len(made) == 1
    assert len(found) == 2
    assert found.lengths.tolist() == [5, 4]
    assert found.columns["score"].tolist() == [1.5, 2.5]
    for prefix in ("a_", "b_"):
        for name in ("token_ids", "segment_ids"):
            array = found.sequences[prefix].tokens[name]
            assert array.tolist() == made[0].sequences[prefix].tokens[name].tolist()


def test_damaged_cache_is_made_again(tmp_path, capsys):
    path = tmp_path / "train-0123456789abcdef.npz"
    path.write_bytes(b"no archive")

    found = features_lib.load_or_encode(
        str(tmp_path), "train", "0123456789abcdef", make_features
    )

    assert len(found) == 2
    assert f"{path} is damaged and is made again." in capsys.readouterr().out
    assert path.read_bytes()[:2] == b"PK"


def test_fingerprint_changes_with_data_and_every_setting():
    prints = {
        features_lib.compute_fingerprint(data, length=length, lower=lower)
        for data in (b"a", b"b")
        for length in (8, 9)
        for lower in (True, False)
    }
    assert len(prints) == 8


def test_half_a_character_has_a_fingerprint():
    # json.loads('"\\ud83d"')
    half = features_lib.to_bytes(["\ud83d", "x"])
    assert half == b"\xed\xa0\xbd\0x"
    assert len(features_lib.compute_fingerprint(half)) == 64

import numpy as np
import pytest

from data_prep.records import masking, sequences, similar_words
from data_prep.text import vocab

TOKENS = (*vocab.REQUIRED_TOKENS, *"天气很好坏晴朗雨雪快慢ab", "##c")
VOCABULARY = vocab.Vocabulary(TOKENS, "test", b"")
ID = {token: number for number, token in enumerate(TOKENS)}


def ids(text: str) -> tuple[int, ...]:
    return tuple(ID[character] for character in text)


@pytest.fixture
def build(tmp_path):
    """Returns a function: text of the file -> `SimilarWords`."""

    def build(text: str) -> similar_words.SimilarWords:
        path = tmp_path / "similar.txt"
        path.write_text(text, encoding="utf-8")
        _, sha256 = similar_words.read_file(str(path))
        return similar_words.build(str(path), sha256, VOCABULARY, True)

    return build


def test_similar_words_have_as_many_tokens(build):
    table = build("\ufeff天气\t晴朗 好 雨雪 天气 天龙\n好\t坏\t快\n\nA\tB 慢\n雷\t雨\n")
    assert len(table) == 3
    rng = np.random.default_rng(0)
    found = table.replace([ids("天气")] * 200 + [ids("很")], rng)
    assert found.pop() is None
    assert {tuple(word) for word in found} == {ids("晴朗"), ids("雨雪")}
    (upper,) = table.replace([(ID["a"],)], rng)
    assert upper.tolist() in ([ID["b"]], [ID["慢"]])


def test_chosen_words_are_replaced_and_labels_stay(build):
    table = build("天气\t晴朗 雨雪\n好\t坏\n")
    row = [ID["[CLS]"], *ids("天气很好") * 20, ID["[SEP]"]]
    starts = np.array([[True, *[True, False, True, True] * 20, True]])
    built = sequences.Sequences(
        np.array([row] * 50, np.int32),
        np.zeros((50, len(row)), np.uint8),
        np.full(50, len(row)),
        np.repeat(starts, 50, axis=0),
        np.array([[False, *[True] * 80, False]] * 50),
    )
    rules = masking.MaskingRules(0.15, 20, "wwm")
    masked = masking.mask_sequences(
        built, rules, VOCABULARY, np.random.default_rng(1), table
    )
    chosen = np.zeros((50, len(row)), bool)
    counts = {"similar": 0, "kept": 0, "other": 0}
    for number in range(50):
        places = masked.positions[number, : masked.num_predictions[number]]
        labels = masked.labels[number, : masked.num_predictions[number]]
        np.testing.assert_array_equal(built.input_ids[number, places], labels)
        chosen[number, places] = True
        for place in places[starts[0, places]].tolist():
            before = tuple(row[place : place + (2 if row[place] == ID["天"] else 1)])
            here = slice(place, place + len(before))
            after = tuple(masked.input_ids[number, here].tolist())
            expected = {ids("天气"): "晴朗 雨雪", ids("好"): "坏"}.get(before, "")
            if after in [ids(word) for word in expected.split()]:
                counts["similar"] += 1
            elif after == before:
                counts["kept"] += 1
            else:
                # A random token; of 很 nine in ten, since it has no similar word.
                counts["other"] += 1
                assert before == ids("很") or counts["other"] < 200
    np.testing.assert_array_equal(masked.input_ids[~chosen], built.input_ids[~chosen])
    assert not (masked.input_ids == ID["[MASK]"]).any()
    total = sum(counts.values())
    assert abs(counts["similar"] / total - 0.8 * 2 / 3) < 0.08
    assert abs(counts["kept"] / total - 0.1) < 0.06


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("天气 晴朗\n", "line 1 has no similar words: a line is a word, a tab"),
        ("好\t坏\n天气\t \n", "line 2 has no similar words"),
        ("\n", "holds no word"),
        ("天气\t好\n", "has no word with a similar one of as many tokens"),
    ],
)
def test_bad_file_is_refused(build, text, message):
    with pytest.raises(ValueError, match=message):
        build(text)


def test_changed_or_missing_file_is_refused(build, tmp_path):
    build("好\t坏\n")
    path = str(tmp_path / "similar.txt")
    with pytest.raises(ValueError, match="has changed since the run began"):
        similar_words.build(path, "0" * 64, VOCABULARY, True)
    with pytest.raises(ValueError, match="cannot be read: check the path"):
        similar_words.read_file(path + "x")

import json
import types

import numpy as np
import pytest

from bert_cn.finetuning.reading import data as reading_data
from bert_cn.finetuning.reading import metrics, spans, windows
from data_prep.text import tokenization
from data_prep.text import vocab as vocab_lib

CLS, SEP, UNK, FIRST_LETTER = 2, 3, 1, 7
LETTERS = "使用语言模型来预测下一个词的。，国中北京首都是"


def build_start(vocab_file, do_lower_case=False):
    vocabulary = vocab_lib.load_vocabulary(str(vocab_file))
    return types.SimpleNamespace(
        vocabulary=vocabulary,
        tokenizer=tokenization.Tokenizer(vocabulary, do_lower_case),
        settings={},
    )


def ids_of(text):
    return [FIRST_LETTER + LETTERS.index(char) for char in text]


def build_dataset(context, *questions):
    """Questions are (text, answers), answers (text, start)."""
    made = [
        reading_data.Question(
            str(number), text, 0, tuple(reading_data.Answer(*each) for each in answers)
        )
        for number, (text, answers) in enumerate(questions)
    ]
    return reading_data.Dataset("a.json", b"", [context], made)


@pytest.mark.parametrize(
    ("length", "room", "stride", "parts"),
    [
        (9, 4, 2, [(0, 4), (2, 6), (4, 8), (6, 9)]),
        (10, 4, 3, [(0, 4), (3, 7), (6, 10)]),
        (4, 4, 3, [(0, 4)]),
        (5, 4, 3, [(0, 4), (3, 5)]),
        # A stride over the room skips nothing.
        (5, 2, 4, [(0, 2), (2, 4), (4, 5)]),
        (0, 4, 3, [(0, 0)]),
    ],
)
def test_parts_overlap_by_room_minus_stride(length, room, stride, parts):
    assert windows.slide(length, room, stride) == parts


def test_part_with_the_most_context_is_chosen():
    # The example of google-research/bert: the man went to the | store and bought ...,
    # 12 words. Around `bought` (7) the second part has 4 and 0 neighbours, the third 1
    # and 3.
    parts = [(0, 5), (3, 8), (6, 11), (9, 12)]
    owners = windows.choose_parts(parts)
    # Word: the smaller side in each part, or - where it is not.
    #  3: 1 0    4: 0 1    6: 1 0 (2nd, 3rd)    7: 0 1    9: 1 0 (3rd, 4th)   10: 0 1
    assert owners.tolist() == [0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3]


def test_equal_context_goes_to_the_longer_part_then_the_first():
    # The smaller sides: token 2 has 1 | 0, token 3 has 0 | 1.
    assert windows.choose_parts([(0, 4), (2, 6)]).tolist() == [0, 0, 0, 1, 1, 1]
    # Token 3 stands at an edge of both (0 | 0): the longer part, 4 tokens against 2.
    assert windows.choose_parts([(0, 4), (3, 5)]).tolist() == [0, 0, 0, 0, 1]
    # Token 1 at the edge of two parts of 2: the first.
    assert windows.choose_parts([(0, 2), (1, 3)]).tolist() == [0, 0, 1]


def test_windows_hold_question_part_and_positions(vocab_file, capsys):
    # 9 tokens; the room after the question's 3 tokens is 10 - 3 - 3 = 4.
    dataset = build_dataset("中国的首都是北京。", ("首都？", [("北京", 6)]))
    targets = reading_data.find_targets(dataset, False)
    start = build_start(vocab_file)

    features = windows.encode(dataset, targets, start, windows.Limits(10, 3, 5))

    sequences = features.sequences[""]
    head = [CLS, *ids_of("首都"), UNK, SEP]
    wanted = [
        [*head, *ids_of("中国的首"), SEP],
        [*head, *ids_of("首都是北"), SEP],
        [*head, *ids_of("北京。"), SEP],
    ]
    assert sequences.starts.tolist() == [0, 10, 20, 29]
    assert sequences.tokens["token_ids"].tolist() == sum(wanted, [])
    assert sequences.tokens["segment_ids"].tolist() == (
        ([0] * 5 + [1] * 5) * 2 + [0] * 5 + [1] * 4
    )
    columns = {name: array.tolist() for name, array in features.columns.items()}
    # Only the third part has both tokens of 北京, after 5 tokens.
    assert columns == {
        "question": [0, 0, 0],
        "document_start": [5, 5, 5],
        "context_start": [0, 3, 6],
        "start_position": [0, 0, 5],
        "end_position": [0, 0, 6],
        "covered_start": [-1, -1, 6],
        "covered_end": [-1, -1, 8],
    }
    # 3 of the 20 tokens besides [CLS] and [SEP] are [UNK]; nothing is cut.
    assert "3 windows of up to 10 tokens; 0 questions cut to 5 tokens; 15.00%" in (
        capsys.readouterr().out
    )


def test_question_is_cut_and_one_without_an_answer_points_to_cls(vocab_file, capsys):
    dataset = build_dataset("国", ("中国首都", []), ("北京", [("国", 0)]))
    targets = reading_data.find_targets(dataset, False)
    features = windows.encode(
        dataset, targets, build_start(vocab_file), windows.Limits(16, 8, 2)
    )
    assert features.sequences[""].tokens["token_ids"].tolist() == [
        *[CLS, *ids_of("中国"), SEP, *ids_of("国"), SEP],
        *[CLS, *ids_of("北京"), SEP, *ids_of("国"), SEP],
    ]
    assert features.columns["start_position"].tolist() == [0, 4]
    assert features.columns["end_position"].tolist() == [0, 4]
    assert "1 questions cut to 2 tokens" in capsys.readouterr().out


def test_windows_for_prediction_know_nothing_of_answers(vocab_file):
    dataset = build_dataset("国", ("中国首都", []), ("北京", [("国", 0)]))
    features = windows.encode(
        dataset, None, build_start(vocab_file), windows.Limits(16, 8, 2)
    )
    assert set(features.columns) == {"question", "document_start", "context_start"}


@pytest.mark.parametrize(
    ("context", "answer"),
    [
        # Full-width letters and digits, spaces of three kinds, a line's end, a
        # character that is dropped, and one beyond the first 65,536.
        ("中 Ｂｅｒｔ１２　国", "Ｂｅｒｔ１２　国"),
        ("北\n京\u3000的\t首都", "北\n京\u3000的\t首"),
        ("北\u200b京是", "北\u200b京"),
        ("𠀀𠀁首都", "𠀁首"),
        ("首都（北京）。", "（北京）"),
        # A separate accent after the last letter, which lower-casing strips.
        ("cafe\u0301 是", "cafe\u0301"),
        ("İstanbul 국 首都", "İstanbul 국"),
    ],
)
def test_answers_come_back_as_slices_of_the_context(vocab_file, context, answer):
    dataset = build_dataset(context, ("首", [(answer, context.index(answer))]))
    targets = reading_data.find_targets(dataset, False)
    start = build_start(vocab_file, do_lower_case=True)
    features = windows.encode(dataset, targets, start, windows.Limits(64, 32, 8))
    assert windows.list_inexact(dataset, targets, features, 30) == []

    # And a model that is sure of these tokens predicts the same.
    tokens = start.tokenizer.tokenize([context])
    count = len(tokens.ids)
    first, last = (
        int(features.columns[name][0] - features.columns["document_start"][0])
        for name in ("start_position", "end_position")
    )
    window = spans.Window(0, np.zeros(count), np.zeros(count), 0.0, 0.0)
    window.start_logits[first] = window.end_logits[last] = 9
    found = spans.predict(
        context, tokens.char_starts, tokens.char_ends, [window], 1, 30
    )
    assert found.best_text == answer


def test_answers_that_tokens_cannot_give_back_are_listed(vocab_file, capsys):
    # pro ##ba ##bility; the context has 2 + 3 + 6 tokens.
    dataset = build_dataset(
        "北京 probability 使用语言模型",
        ("国", [("probab", 3)]),
        ("国", [("使用语言", 15)]),
        ("国", [("使用", 15)]),
        ("国", []),
    )
    targets = reading_data.find_targets(dataset, False)
    # Room for 8 - 4 = 4 tokens: 北 京 pro ba, pro ba bility 使, bility 使 用 语, ...
    features = windows.encode(
        dataset, targets, build_start(vocab_file), windows.Limits(8, 2, 1)
    )

    found = windows.list_inexact(dataset, targets, features, max_answer_length=1)

    assert found == [
        ("0", "probab", 3, "its tokens cover 'probability'"),
        ("1", "使用语言", 15, "no window holds all of it"),
    ]
    assert (
        "a.json: 1 answers begin or end inside a token, 1 are whole in no window, "
        "2 are longer than --max_answer_length=1 tokens."
    ) in capsys.readouterr().out


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("name", "vocab", "questions", "moved", "inside"),
    [
        ("cmrc2018/cmrc2018_train", "chinese_L-12_H-768_A-12", 10142, 21, 5),
        ("cmrc2018/cmrc2018_dev", "chinese_L-12_H-768_A-12", 3219, 3, 1),
        ("squad_en/cs224n_dev-v2.0", "uncased_L-12_H-768_A-12", 6078, 0, 2),
        ("squad_en/heldout_v1.1_xquad_en", "uncased_L-12_H-768_A-12", 838, 0, 1),
    ],
)
def test_real_answers_come_back(shared_folder, name, vocab, questions, moved, inside):
    data = shared_folder / "data"
    dataset = reading_data.read_dataset(str(data / f"{name}.json"), True)
    targets = reading_data.find_targets(dataset, skip_bad_answers=False)
    assert len(dataset.questions) == questions
    # SOURCE.txt beside the files counts the wrong offsets.
    assert len(reading_data.list_problems(dataset, targets)) == moved
    start = build_start(data / "vocab" / vocab / "vocab.txt", do_lower_case=True)
    features = windows.encode(dataset, targets, start, windows.Limits(384, 128, 64))
    found = windows.list_inexact(dataset, targets, features, 30)
    # All others are their context's slice to the letter.
    assert all("its tokens cover" in row[3] for row in found)
    assert len(found) == inside

    # Right answers score 100 by the official definition.
    answers = [[each.text for each in q.answers] for q in dataset.questions]
    texts = [right[0] if right else "" for right in answers]
    has_all = all(answers)
    definition = metrics.choose_definition(dataset.contexts, not has_all)
    values = metrics.measure(definition, answers, texts)
    assert values["exact"] == values["f1"] == 100


def build_wrong_offsets():
    return build_dataset(
        "北京北京首都",
        ("一", [("首都", 3), ("首都", 4)]),
        # Nearest to 3 is 2.
        ("二", [("北京", 3)]),
        ("三", [("国", 0)]),
    )


def test_answer_that_its_context_does_not_hold_is_refused():
    with pytest.raises(ValueError, match="question '2': its context does not hold the"):
        reading_data.find_targets(build_wrong_offsets(), skip_bad_answers=False)


def test_answers_at_wrong_offsets_are_found_and_listed(capsys):
    dataset = build_wrong_offsets()
    targets = reading_data.find_targets(dataset, skip_bad_answers=True)

    assert targets == [
        reading_data.Target(4, 6, "首都"),
        reading_data.Target(2, 4, "北京", "found at 2"),
        None,
    ]
    assert reading_data.list_problems(dataset, targets) == [
        ("1", "北京", 3, "found at 2"),
        ("2", "国", 0, "left out: its context does not hold it"),
    ]
    assert (
        "a.json: 2 answers are not at their offset; 1 were found elsewhere in "
        "their context, 1 are left out (1, 2)." in capsys.readouterr().out
    )


FILES = {
    "squad1.1": {"context": "The man.", "answer": {"text": "man", "answer_start": 4}},
    # CMRC 2018 numbers its contexts, DRCD also its answers.
    "cmrc2018": {
        "id": "DEV_0",
        "context": "北京是首都。",
        "answer": {"text": "首都", "answer_start": 3},
    },
    "drcd": {
        "id": "2128-2",
        "context": "聖經是書。",
        "answer": {"id": "1", "text": "聖經", "answer_start": 0},
    },
    "squad2.0": {
        "context": "The man.",
        "answer": {"text": "man", "answer_start": 4},
        "more": {"is_impossible": True, "answers": [], "plausible_answers": []},
    },
}


@pytest.mark.parametrize("name", FILES)
def test_right_answers_as_predictions_score_100_in_each_format(name, tmp_path, capsys):
    layout = dict(FILES[name])
    qas = [{"id": "1", "question": "?", "answers": [layout.pop("answer")]}]
    if more := layout.pop("more", None):
        qas.append({"id": "2", "question": "?", **more})
    values = {
        "version": "1",
        "data": [{"title": "x", "id": "0", "paragraphs": [{**layout, "qas": qas}]}],
    }
    path = tmp_path / "dev.json"
    # With the mark at the start that some editors leave.
    path.write_text(json.dumps(values, ensure_ascii=False), encoding="utf-8-sig")

    dataset = reading_data.read_dataset(str(path), with_negative=more is not None)

    definition = metrics.choose_definition(dataset.contexts, more is not None)
    assert definition.name == {"drcd": "cmrc2018"}.get(name, name)
    answers = [[each.text for each in q.answers] for q in dataset.questions]
    texts = [right[0] if right else "" for right in answers]
    values = metrics.measure(definition, answers, texts)
    assert (values["exact"], values["f1"]) == (100, 100)
    assert len(dataset.questions) == len(qas)
    if more:
        # SQuAD 1.1 has no such questions.
        assert len(reading_data.read_dataset(str(path), False).questions) == 1
        assert "1 without an answer, which are left out." in capsys.readouterr().out

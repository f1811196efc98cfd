import json

import pytest

from data_prep.text import corpus, json_lines


def read(tmp_path, text: str, **rules):
    path = tmp_path / "a.jsonl"
    path.write_text(text, encoding="utf-8")
    documents = corpus.read_documents(str(path), rules=corpus.ReadingRules(**rules))
    return [text for text, _ in documents]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        (
            "天气很好。我们出去！好吗？好；走",
            ["天气很好。", "我们出去！", "好吗？", "好；", "走"],
        ),
        ("他说：“走吧。”我们走了……", ["他说：“走吧。”", "我们走了……"]),
        ("「真的？！」（对。）是", ["「真的？！」", "（对。）", "是"]),
        ('He said "go!" Then; ok?', ['He said "go!"', "Then;", "ok?"]),
        ("第一行\n第二行\r\n\n  第三行 ", ["第一行", "第二行", "第三行"]),
        ("3.5元", ["3.5元"]),
        ("。", ["。"]),
    ],
)
def test_sentences_end_behind_marks_and_closing_quotes(text, sentences):
    assert json_lines.split_text(text).split("\n") == sentences


def test_each_line_is_a_document(tmp_path):
    lines = [json.dumps({"text": text}) for text in ("甲。乙", "丙\n\n丁", " ")]
    assert read(tmp_path, "\n\n".join(lines)) == ["甲。\n乙", "丙\n丁"]


def test_text_field_names_the_document(tmp_path):
    line = json.dumps({"title": "题", "content": "文。"}, ensure_ascii=False)
    assert read(tmp_path, line + "\n", text_field="content") == ["文。"]
    message = r"a.jsonl' line 1 has no field 'text', only content, title: name"
    with pytest.raises(ValueError, match=message):
        read(tmp_path, line)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": ', r"a.jsonl' line 2 is no JSON \(Expecting value"),
        ('["甲"]', r"line 2 is no JSON object: write each document as"),
        ('{"text": 3}', "line 2 has a int in the field 'text', not a text"),
    ],
)
def test_bad_line_is_refused(tmp_path, line, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, '{"text": "甲"}\n' + line)


def test_line_nested_beyond_measure_is_refused(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": ' + "[" * 100_000 + "\n")
    with pytest.raises(ValueError, match=r"a.jsonl' line 1 is no JSON \("):
        list(corpus.read_documents(str(path)))


def test_half_a_surrogate_pair_is_no_character(tmp_path):
    assert read(tmp_path, r'{"text": "\ud83d甲\ud83d\ude00"}') == ["\ufffd甲😀"]

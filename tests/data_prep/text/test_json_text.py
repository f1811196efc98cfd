import json

import pytest

from data_prep.text import corpus


@pytest.fixture
def read_json(tmp_path):
    """Returns a function: text or bytes, name, rules -> documents."""

    def read(text: str | bytes, name: str = "a.jsonl", **rules) -> list[str]:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        documents = corpus.read_documents(str(path), rules=corpus.ReadingRules(**rules))
        return [text for text, _ in documents]

    return read


def test_each_json_line_is_a_document(read_json):
    lines = [json.dumps({"text": text}) for text in ("甲。乙", "丙\n\n丁", " ")]
    assert read_json("\n\n".join(lines)) == ["甲。\n乙", "丙\n丁"]


def test_text_field_names_the_document(read_json):
    line = json.dumps({"title": "题", "content": "文。"}, ensure_ascii=False)
    assert read_json(line + "\n", text_field="content") == ["文。"]
    message = r"a.jsonl' line 1 has no field 'text', only content, title: name"
    with pytest.raises(ValueError, match=message):
        read_json(line)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": ', r"a.jsonl' line 2 is not JSON \(Expecting value"),
        ('["甲"]', r"line 2 is not a JSON object: write each document as"),
        ('{"text": 3}', "line 2 has no text but int in the field 'text': name"),
    ],
)
def test_bad_json_line_is_refused(read_json, line, message):
    with pytest.raises(ValueError, match=message):
        read_json('{"text": "甲"}\n' + line)


def test_json_line_nested_too_deeply_is_refused(read_json):
    with pytest.raises(ValueError, match=r"a.jsonl' line 1 is not JSON \("):
        read_json('{"text": ' + "[" * 100_000 + "\n")


def test_half_a_surrogate_pair_is_no_character(read_json):
    assert read_json(r'{"text": "\ud83d甲\ud83d\ude00"}') == ["\ufffd甲😀"]


ARRAY = [{"text": "甲。乙"}, {"id": 3, "text": "丙\n\n丁"}, {"text": " "}]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.ndjson"])
@pytest.mark.parametrize("block", [3, 4 << 20])
def test_array_is_told_by_its_first_character(
    read_json, monkeypatch, indent, name, block
):
    monkeypatch.setattr(corpus, "_BLOCK_BYTES", block)
    text = json.dumps(ARRAY, indent=indent, ensure_ascii=False)
    assert read_json("\ufeff \n" + text, name) == ["甲。\n乙", "丙\n丁"]


def test_json_file_of_lines_is_read_line_by_line(read_json):
    text = "\n".join(json.dumps(item) for item in ARRAY)
    assert read_json(text, "a.json") == ["甲。\n乙", "丙\n丁"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"text": "甲"}, {"text"', "not JSON after item 1 .*must hold one array"),
        ('[{"text": "甲"}] x', "not JSON after item 1"),
        ('[{"text": "甲"}, 3]', "item 2 is not a JSON object: write each document"),
        ('[{"text": "甲"}, {"body": "乙"}]', "item 2 has no field 'text', only body"),
        ("[]", "holds only white space"),
        (
            '{\n  "text": "甲"\n}',
            "line 1 is not JSON .*object a line, or one array",
        ),
    ],
)
def test_bad_array_is_refused(read_json, text, message):
    with pytest.raises(ValueError, match=message):
        read_json(text, "a.json")


def test_bad_utf8_in_an_array_is_refused_or_replaced(read_json):
    data = '[{"text": "甲"}, {"text": "乙'.encode() + b'\xff"}]'
    with pytest.raises(ValueError, match="is not JSON after item"):
        read_json(data, "a.json")
    assert read_json(data, "a.json", on_bad_utf8="replace") == ["甲", "乙\ufffd"]

import json
import random

import pytest

from data_prep.text import byte_ranges, corpus


@pytest.fixture
def read_in_ranges(monkeypatch):
    """Returns a function: path, size of a range -> documents of each range."""

    def read(path, size: int, **rules) -> list[list[str]]:
        monkeypatch.setattr(byte_ranges, "RANGE_BYTES", size)
        monkeypatch.setattr(byte_ranges, "_SEARCH_BYTES", 40)
        file = corpus.InputFile(str(path), path.stat().st_size)
        rules = corpus.ReadingRules(**rules)
        return [
            [t for t, _ in corpus.read_documents(file.path, None, rules, part)]
            for part in file.plan_ranges()
        ]

    return read


def make_texts(count: int = 60) -> list[str]:
    draw = random.Random(1)
    return [
        "\n".join(
            draw.choice(("今天", "word ", "𠀀的 ")) * draw.randrange(1, 20) + f"{n}."
            for _ in range(draw.randrange(1, 5))
        )
        for n in range(count)
    ]


@pytest.mark.parametrize("size", [1, 30, 101, 500, 2000, 10**6])
@pytest.mark.parametrize("between", ["\n\n", "\r\n\r\n", "\n \t\n\n\n", "\n\u3000\n\n"])
def test_ranges_of_a_text_file_hold_each_document_once(
    tmp_path, read_in_ranges, between, size
):
    texts = make_texts()
    path = tmp_path / "a.txt"
    path.write_bytes(("\ufeff" + between.join(texts) + "\n").encode())
    found = read_in_ranges(path, size)
    assert [text for part in found for text in part] == texts
    if size == 500:
        assert sum(map(bool, found)) > 5


@pytest.mark.parametrize("size", [1, 30, 101, 500, 2000, 10**6])
@pytest.mark.parametrize("between", ["\n", "\r\n", "\n\n"])
def test_ranges_of_json_lines_hold_each_object_once(
    tmp_path, read_in_ranges, between, size
):
    texts = [f"第{n}句。" * (1 + n % 7) for n in range(60)]
    objects = [
        json.dumps({"text": text}, ensure_ascii=number % 2 > 0)
        for number, text in enumerate(texts)
    ]
    path = tmp_path / "a.jsonl"
    path.write_bytes(between.join(objects).encode())
    found = read_in_ranges(path, size)
    joined = [text.replace("\n", "") for part in found for text in part]
    assert joined == texts


def test_text_without_a_border_is_one_range(tmp_path, read_in_ranges):
    path = tmp_path / "a.txt"
    path.write_text("一行\n" * 500, encoding="utf-8")
    found = read_in_ranges(path, 100)
    assert len(found) > 30
    assert [len(part) for part in found] == [1] + [0] * (len(found) - 1)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.json", b'[{"text": "\xe7\x94\xb2"}' + b" " * 300 + b"]"),
        ("a.csv", b"text\n" + b"\xe7\x94\xb2\n" * 100),
        ("a.txt.gz", b"\x1f\x8b" + b"\0" * 300),
    ],
)
def test_other_files_are_read_whole(tmp_path, monkeypatch, name, data):
    monkeypatch.setattr(byte_ranges, "RANGE_BYTES", 50)
    path = tmp_path / name
    path.write_bytes(data)
    file = corpus.InputFile(str(path), len(data))
    assert file.plan_ranges() == [byte_ranges.WHOLE]


def test_messages_have_places_in_the_file(tmp_path, read_in_ranges):
    path = tmp_path / "a.jsonl"
    lines = [json.dumps({"text": f"{n}"}) for n in range(50)]
    lines[37] = "{oops"
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(ValueError, match=r"a.jsonl' line 38 is not JSON"):
        read_in_ranges(path, 100)
    path = tmp_path / "a.txt"
    data = "甲\n\n".encode() * 100
    path.write_bytes(data[:303] + b"\xff" + data[303:])
    with pytest.raises(ValueError, match="a.txt' is not UTF-8 at byte 303: found 0xff"):
        read_in_ranges(path, 50)
    parts = read_in_ranges(path, 50, on_bad_utf8="replace")
    (text,) = {text for part in parts for text in part} - {"甲"}
    assert text.strip("甲") == "\ufffd"


def test_planned_ranges_touch_and_small_files_have_one():
    size = byte_ranges.RANGE_BYTES
    assert byte_ranges.plan(0) == byte_ranges.plan(size) == [byte_ranges.WHOLE]
    parts = byte_ranges.plan(10 * size + 1)
    assert parts[0].begin == 0
    assert parts[-1].end is None
    assert [p.end for p in parts[:-1]] == [p.begin for p in parts[1:]]
    assert len(parts) == 10

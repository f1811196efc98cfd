import gzip

import pytest

from data_prep.text import corpus


@pytest.fixture
def read(tmp_path):
    """Returns a function: bytes, name -> documents."""

    def read(data: bytes, name: str = "a.txt") -> list[str]:
        path = tmp_path / name
        path.write_bytes(data)
        return [text for text, _ in corpus.read_documents(str(path))]

    return read


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b'{"text": "a"}\n{"text": "b"}\n', "holds JSON lines, .*: name it .jsonl"),
        (b'\n{"text": "a"}', "holds JSON lines, .*: name it .jsonl"),
        (b'[{"text": "a"},\n{"text": "b"}]', "looks like JSON, .*: name it .json"),
        (b'{\n  "text": "a"\n}', "looks like JSON, .*: name it .json"),
        (b"<!DOCTYPE html>\n<html><p>a", "is HTML, .*: extract its text"),
        (b'<doc id="1" url="x">\na\n</doc>', "is WikiExtractor's output, .* --json"),
        (b"%PDF-1.7\n", "is a PDF file: extract"),
        (b"PK\x03\x04abc", "is a zip archive"),
        (b"PAR1abc", "is a Parquet file: name it .parquet"),
        (gzip.compress(b"a\n", mtime=0), "is compressed by gzip, .*: end it in .gz"),
        ("甲\n".encode("utf-16"), "is not UTF-8 at byte 0: it begins as UTF-16 does"),
        ("甲\n".encode() + b"\0\0", "is no text: byte 4 is 0, .*tr -d"),
    ],
)
def test_file_that_is_no_plain_text_is_refused_with_the_remedy(read, data, problem):
    with pytest.raises(ValueError, match=f"a.txt' {problem}"):
        read(data)


@pytest.mark.parametrize("name", ["a.json", "a.csv", "a.txt.gz"])
def test_other_formats_are_looked_at_too(read, name):
    data = b"PK\x03\x04abc"
    data = gzip.compress(data) if name.endswith(".gz") else data
    with pytest.raises(ValueError, match="is a zip archive"):
        read(data, name)


@pytest.mark.parametrize(
    "text",
    [
        "{甲}\n{乙}",
        "[注]\n甲",
        "{}x",
        "<甲>\n乙",
        '{"a": 1\n乙',
        "1\n2",
        '"甲"',
        "PKU",
    ],
)
def test_text_with_brackets_is_text(read, text):
    assert read(text.encode()) == [text]

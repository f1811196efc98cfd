"""Files with a byte changed, cut off or put in: one sentence, or nothing is lost.

BERT_CN_DAMAGES=500 damages each format as many times.
"""

import gzip
import io
import json
import os
import random

import pytest

from data_prep.text import corpus

DAMAGES = int(os.environ.get("BERT_CN_DAMAGES", "60"))
ITEMS = [{"id": number, "text": f"第{number}篇，内容。"} for number in range(20)]
LINES = "\n".join(json.dumps(item, ensure_ascii=False) for item in ITEMS)
ROWS = [f"{item['id']},{item['text']}" for item in ITEMS]


def write_arrow(kind: str) -> bytes:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pa.Table.from_pylist(ITEMS)
    buffer = io.BytesIO()
    if kind == "parquet":
        parquet.write_table(table, buffer)
    else:
        with pa.ipc.new_stream(buffer, table.schema) as writer:
            writer.write_table(table)
    return buffer.getvalue()


FORMATS = {
    "a.txt": lambda: "\n\n".join(item["text"] for item in ITEMS).encode(),
    "a.jsonl": lambda: LINES.encode(),
    "a.json": lambda: json.dumps(ITEMS, ensure_ascii=False).encode(),
    "a.csv": lambda: "\n".join(["id,text", *ROWS]).encode(),
    "a.tsv": lambda: "\n".join(["id,text", *ROWS]).replace(",", "\t").encode(),
    "a.jsonl.gz": lambda: gzip.compress(LINES.encode()),
    "a.parquet": lambda: write_arrow("parquet"),
    "a.arrow": lambda: write_arrow("arrow"),
}


def damage(data: bytes, draw: random.Random) -> bytes:
    place = draw.randrange(len(data))
    byte = bytes([draw.randrange(256)])
    return draw.choice(
        [
            data[:place] + byte + data[place + 1 :],
            data[:place] + byte + data[place:],
            data[:place],
            data[:place] + data[place + draw.randrange(1, 9) :],
        ]
    )


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_file_is_refused_in_one_sentence_or_read(tmp_path, name):
    whole = FORMATS[name]()
    draw = random.Random(name)
    path = tmp_path / name
    refused, read = [], 0
    for _ in range(DAMAGES):
        path.write_bytes(damage(whole, draw))
        try:
            documents = list(corpus.read_documents(str(path)))
        except ValueError as error:
            refused.append(str(error))
        else:
            read += 1
            assert documents
            assert all(isinstance(text, str) for text, _ in documents)
    assert read + len(refused) == DAMAGES
    # In plain text hardly a change is an error but in the middle of a character.
    assert len(refused) > DAMAGES / 20
    for message in refused:
        assert "\n" not in message
        assert len(message) < 500
        assert str(path) in message


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.csv", "a.tsv"])
def test_random_lines_are_refused_in_one_sentence_or_read(tmp_path, name):
    draw = random.Random(name)
    letters = '{}[]",:\\tnul0123456789.-+eE甲乙丙 \t\r\u2028\ufeff\x00\x1b'
    path = tmp_path / name
    for _ in range(10 * DAMAGES):
        text = "".join(draw.choices(letters, k=draw.randrange(1, 60)))
        path.write_text(text, encoding="utf-8", newline="")
        try:
            list(corpus.read_documents(str(path)))
        except ValueError as error:
            message = str(error)
            assert len(message.split("\n")) == 1, message
            assert len(message) < 500, message

import bz2
import gzip
import hashlib
import lzma

import pytest
import zstandard

from data_prep.text import compression, corpus

PACK = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda data: zstandard.ZstdCompressor().compress(data),
}
TEXT = "甲乙\n丙\n\n丁\n" * 5


@pytest.fixture(params=compression.SUFFIXES)
def suffix(request):
    return request.param


def read(path, data: bytes, sha256=None):
    path.write_bytes(data)
    return [text for text, _ in corpus.read_documents(str(path), sha256)]


def test_documents_are_those_of_the_text(tmp_path, suffix, monkeypatch):
    data = PACK[suffix](TEXT.encode())
    sha256 = hashlib.sha256()
    path = tmp_path / f"a.txt{suffix}"
    monkeypatch.setattr(corpus, "_COMPRESSED_BLOCK_BYTES", 7)
    assert read(path, data, sha256) == ["甲乙\n丙", *["丁\n甲乙\n丙"] * 4, "丁"]
    assert sha256.hexdigest() == hashlib.sha256(data).hexdigest()


def test_several_streams_in_one_file_are_read(tmp_path, suffix):
    data = PACK[suffix]("甲\n\n".encode()) + PACK[suffix]("乙\n".encode())
    assert read(tmp_path / f"a.txt{suffix}", data) == ["甲", "乙"]


def test_truncated_file_is_refused(tmp_path, suffix):
    data = PACK[suffix](TEXT.encode())
    for cut in (len(data) - 1, len(data) // 2):
        with pytest.raises(ValueError, match=r"a\.txt.* cannot be decompressed"):
            read(tmp_path / f"a.txt{suffix}", data[:cut])


def test_damaged_second_stream_is_refused(tmp_path, suffix):
    data = PACK[suffix]("甲\n\n".encode()) + b"x" + PACK[suffix]("乙\n".encode())[1:]
    with pytest.raises(ValueError, match=r"a\.txt.* cannot be decompressed"):
        read(tmp_path / f"a.txt{suffix}", data)


def test_file_that_is_not_what_its_name_says_is_refused(tmp_path, suffix):
    with pytest.raises(ValueError, match=f"is whole and is what '{suffix}' says"):
        read(tmp_path / f"a.txt{suffix}", TEXT.encode())


def test_zeros_after_a_gzip_stream_are_padding(tmp_path):
    data = gzip.compress("甲".encode()) + b"\0" * 100
    assert read(tmp_path / "a.gz", data) == ["甲"]


def test_bad_utf8_is_found_in_the_text(tmp_path):
    with pytest.raises(ValueError, match="is not UTF-8 at byte 3 of its text"):
        read(tmp_path / "a.gz", gzip.compress(b"ab\n\xff\n"))


def test_text_is_taken_for_longer_than_its_file():
    assert corpus.InputFile("a.txt", 10).text_bytes == 10
    assert corpus.InputFile("a.txt.gz", 10).text_bytes == 40

import hashlib
import os

import pytest
import tensorflow as tf

from data_prep.text import corpus, lines


def read(tmp_path, data: bytes) -> list[str]:
    path = tmp_path / "text.txt"
    path.write_bytes(data)
    return [text for text, _ in corpus.read_documents(str(path))]


@pytest.mark.parametrize(
    ("data", "documents"),
    [
        (b"a\nb\n\nc\n", ["a\nb", "c"]),
        (b"a\r\nb\r\n\r\nc", ["a\nb", "c"]),
        (b"\xef\xbb\xbfa\n", ["a"]),
        (b"\n\n \na\n \t\n\nb\n  ", ["a", "b"]),
        ("a\n\u3000\nb".encode(), ["a", "b"]),
        # Only LF and CRLF end lines.
        ("a\u2028b\x0bc\x85d\re\nf".encode(), ["a\u2028b\x0bc\x85d\re\nf"]),
    ],
)
def test_documents_end_at_blank_lines(tmp_path, data, documents):
    assert read(tmp_path, data) == documents


@pytest.mark.parametrize("block", [1, 2, 3, 7])
def test_documents_do_not_depend_on_block_size(tmp_path, monkeypatch, block):
    data = "\ufeff甲\r\n乙\r\n\r\n丙\n \n\n丁".encode()
    monkeypatch.setattr(corpus, "_BLOCK_BYTES", block)
    assert read(tmp_path, data) == ["甲\n乙", "丙", "丁"]


def test_every_byte_is_hashed_and_reported(tmp_path):
    data = "甲\n\n乙\n".encode()
    path = tmp_path / "text.txt"
    path.write_bytes(data)
    sha256 = hashlib.sha256()
    *_, (_, done) = corpus.read_documents(str(path), sha256)
    assert done == len(data)
    assert sha256.hexdigest() == hashlib.sha256(data).hexdigest()


def test_endless_document_is_cut_at_a_line(tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "MAX_DOCUMENT_CHARACTERS", 10)
    monkeypatch.setattr(corpus, "_BLOCK_BYTES", 8)
    documents = read(tmp_path, b"abc\n" * 8)
    assert "\n".join(documents) == "\n".join(["abc"] * 8)
    # One block more than the limit, at most.
    assert max(map(len, documents)) <= 10 + 8


def test_bad_utf8_is_refused_with_its_byte(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, "_BLOCK_BYTES", 4)
    with pytest.raises(
        ValueError, match=r"text.txt' is not UTF-8 at byte 9: found 0xff"
    ):
        read(tmp_path, b"\xef\xbb\xbfab\ncd\n\xffe\n")


def test_utf16_is_named(tmp_path):
    with pytest.raises(ValueError, match="begins as UTF-16 does; convert it"):
        read(tmp_path, "模型".encode("utf-16"))


def test_white_space_alone_is_refused(tmp_path):
    with pytest.raises(ValueError, match="only white space"):
        read(tmp_path, b"\n  \n\n")


def test_files_are_found_once_and_sorted(tmp_path):
    for name in ("b.txt", "a.txt"):
        (tmp_path / name).write_text("x")
    files = corpus.find_files(f"{tmp_path}/*.txt, {tmp_path}/a.txt")
    assert [file.path for file in files] == [f"{tmp_path}/a.txt", f"{tmp_path}/b.txt"]
    assert [file.bytes for file in files] == [1, 1]


def test_two_stars_stand_for_any_folders(tmp_path):
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    for folder in (tmp_path, deep):
        (folder / "x.txt").write_text("好\n")
    found = [file.path for file in corpus.find_files(f"{tmp_path}/**/*.txt")]
    assert found == [f"{deep}/x.txt", f"{tmp_path}/x.txt"]


def test_name_that_is_not_utf8_is_refused(tmp_path):
    path = os.path.join(os.fsencode(tmp_path), "语.txt".encode("gbk"))
    with open(path, "wb") as file:
        file.write("好\n".encode())
    with pytest.raises(ValueError, match="has a name that is not UTF-8: rename the"):
        corpus.find_files(f"{tmp_path}/*.txt")


def test_brackets_in_a_name_are_no_glob(tmp_path):
    path = tmp_path / "a[1].txt"
    path.write_text("x")
    assert [file.path for file in corpus.find_files(str(path))] == [str(path)]


def test_inputs_that_cannot_be_read_are_refused(tmp_path):
    (tmp_path / "empty.txt").touch()
    with pytest.raises(ValueError, match="matches no file"):
        corpus.find_files(f"{tmp_path}/*.json")
    with pytest.raises(ValueError, match=r"is empty \(0 bytes\)"):
        corpus.find_files(f"{tmp_path}/empty.txt")
    with pytest.raises(ValueError, match="--input_file is empty"):
        corpus.find_files(" , ")


def test_bad_utf8_is_replaced_where_asked_for(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfab\nc\xffd\n")
    rules = corpus.ReadingRules(on_bad_utf8="replace")
    assert [t for t, _ in corpus.read_documents(str(path), None, rules)] == [
        "ab\nc\ufffdd"
    ]


def test_files_need_not_be_local():
    # TensorFlow's file system in memory: what holds for it holds for gs://.
    for name in ("a.txt", "b.txt"):
        with tf.io.gfile.GFile(f"ram://corpus/{name}", "w") as file:
            file.write("甲\n\n乙\n")
    files = corpus.find_files("ram://corpus/*.txt")
    assert [file.path for file in files] == ["ram://corpus/a.txt", "ram://corpus/b.txt"]
    assert [t for t, _ in corpus.read_documents(files[0].path)] == ["甲", "乙"]


def test_folder_stands_for_all_files_below_it_that_can_be_read(tmp_path):
    texts = ["a.txt", "b/c.jsonl.gz", "b/wiki_00", "d.parquet", "e.tsv"]
    others = [".hidden.txt", "_SUCCESS", "b/picture.png", "page.html"]
    for name in (*texts, *others):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    warnings = []
    found = corpus.find_files(str(tmp_path), warnings.append)
    assert [file.path for file in found] == [f"{tmp_path}/{name}" for name in texts]
    assert len(warnings) == 1
    assert "2 files of" in warnings[0]
    assert "b/picture.png" in warnings[0]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="without a file that can be read: their"):
        corpus.find_files(f"{tmp_path}/empty")


def test_folder_need_not_be_local():
    tf.io.gfile.makedirs("ram://folder/deep")
    for name in ("a.txt", "deep/b.txt"):
        with tf.io.gfile.GFile(f"ram://folder/{name}", "w") as file:
            file.write("甲\n")
    found = corpus.find_files("ram://folder")
    assert [file.path for file in found] == [
        "ram://folder/a.txt",
        "ram://folder/deep/b.txt",
    ]


@pytest.mark.parametrize(
    ("name", "ending"),
    [
        ("a.txt", ""),
        ("a.json", ".json"),
        ("a.ndjson.xz", ".ndjson"),
        ("a.csv.gz", ".csv"),
        ("json", ""),
    ],
)
def test_format_is_the_ending_before_that_of_the_compression(name, ending):
    assert corpus.find_format(name) == ending


def test_text_field_without_a_file_of_fields_is_refused():
    files = [corpus.InputFile("a.txt", 1)]
    with pytest.raises(ValueError, match="--text_field=body is for files with fields"):
        corpus.check_text_field(files, "body")
    corpus.check_text_field([*files, corpus.InputFile("a.parquet", 1)], "body")

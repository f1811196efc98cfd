import hashlib

import pytest
import tensorflow as tf

from data_prep.text import corpus

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

TABLE = pa.table(
    {"id": [1, 2, 3], "text": ["甲。乙", "丙", None], "title": ["一", "二", "三"]}
)


def read(path, text_field="text", sha256=None) -> list[str]:
    rules = corpus.ReadingRules(text_field)
    return [text for text, _ in corpus.read_documents(str(path), sha256, rules)]


@pytest.fixture
def write(tmp_path):
    """Returns a function: kind, table -> path of its file."""

    def write(kind: str, table=TABLE) -> str:
        path = tmp_path / f"a.{'parquet' if kind == 'parquet' else 'arrow'}"
        if kind == "parquet":
            parquet.write_table(table, path, row_group_size=2)
            return str(path)
        opened = pa.ipc.new_stream if kind == "stream" else pa.ipc.new_file
        with opened(str(path), table.schema) as writer:
            writer.write_table(table, max_chunksize=2)
        return str(path)

    return write


@pytest.mark.parametrize("kind", ["parquet", "stream", "file"])
def test_rows_are_documents(write, kind):
    path = write(kind)
    sha256 = hashlib.sha256()
    assert read(path, "title,text", sha256) == ["一\n甲。\n乙", "二\n丙", "三"]
    with open(path, "rb") as file:
        assert sha256.hexdigest() == hashlib.sha256(file.read()).hexdigest()
    with pytest.raises(ValueError, match="row 3 has no text but NoneType in the field"):
        read(path)
    with pytest.raises(ValueError, match="row 1 has no text but int in the field 'id'"):
        read(path, "id")
    with pytest.raises(ValueError, match="no column 'body', only id, text, title: n"):
        read(path, "body")


@pytest.mark.parametrize("kind", ["parquet", "stream", "file"])
def test_damaged_file_is_refused(write, kind):
    path = write(kind)
    with open(path, "rb") as file:
        data = file.read()
    with open(path, "wb") as file:
        file.write(data[: len(data) // 2])
    with pytest.raises(ValueError, match="cannot be read as .* after row"):
        read(path, "title")


def test_file_need_not_be_local(write):
    with (
        open(write("parquet"), "rb") as file,
        tf.io.gfile.GFile("ram://arrow/a.parquet", "wb") as copy,
    ):
        copy.write(file.read())
    assert read("ram://arrow/a.parquet", "title") == ["一", "二", "三"]


def test_folder_of_a_saved_data_set_stands_for_its_files(tmp_path, write):
    saved = tmp_path / "saved"
    saved.mkdir()
    (saved / "state.json").write_text("{}")
    (saved / "dataset_info.json").write_text("{}")
    (saved / "cache-17.arrow").write_text("not of the data set")
    with open(write("stream"), "rb") as file:
        (saved / "data-00000-of-00001.arrow").write_bytes(file.read())
    (found,) = corpus.find_files(str(saved))
    assert read(found.path, "title") == ["一", "二", "三"]
    (tmp_path / "dataset_dict.json").write_text("{}")
    with pytest.raises(ValueError, match="is a data set with several splits: name one"):
        corpus.find_files(str(tmp_path))


def test_missing_library_is_named(write, monkeypatch):
    path = write("parquet")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ValueError, match=r"needs pyarrow .*pip install 'bert_cn\[parq"):
        read(path)

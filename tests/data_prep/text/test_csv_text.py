import pytest

from data_prep.text import corpus


@pytest.fixture
def read_table(tmp_path):
    """Returns a function: text, name, --text_field -> documents."""

    def read(text: str, name: str = "a.csv", text_field: str = "text") -> list[str]:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8", newline="")
        rules = corpus.ReadingRules(text_field)
        return [text for text, _ in corpus.read_documents(str(path), rules=rules)]

    return read


def test_rows_are_documents(read_table):
    text = '\ufeffid,text,title\n1,"甲，""乙""。\r\n丙",一\r\n\n2,丁\u2028戊,二\n'
    assert read_table(text) == ['甲，"乙"。\n丙', "丁\u2028戊"]
    assert read_table(text, text_field="title, text")[1] == "二\n丁\u2028戊"


def test_quotes_mean_nothing_in_a_tsv_file(read_table):
    assert read_table('text\tlabel\n"甲\t0\n乙"丙\t1\n', "a.tsv") == ['"甲', '乙"丙']


def test_document_may_be_longer_than_what_csv_allows_by_default(read_table):
    long = "长" * 200_000
    assert read_table(f"text\n{long}\n") == [long]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,body\n1,甲\n", "line 1 has no column 'text', only body, id: name the col"),
        ("id,text\n1,甲\n2,乙,丙\n", "line 3 has 3 columns, and the header has 2: rep"),
        ('id,text\n1,"甲', "line 2 is no row of a table .*: repair it"),
        ("id,text\n", "holds only white space"),
    ],
)
def test_bad_table_is_refused(read_table, text, message):
    with pytest.raises(ValueError, match=message):
        read_table(text)

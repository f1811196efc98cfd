import pytest

from bert_cn.finetuning import tables
from bert_cn.finetuning.tables import Columns, Format

NAMED = Columns("a", "b", "label")
NUMBERED = Columns(0, 1, 2)


@pytest.fixture
def read(tmp_path):
    def run(text, columns=NAMED, file_format=Format(), **settings):  # noqa: B008
        path = tmp_path / "train.tsv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return tables.read_table(str(path), columns, file_format, **settings)

    return run


def test_named_columns_are_read_in_any_order(read):
    table = read('\ufefflabel\tid\tb\ta\r\n1\t7\tzwei\teins\r\n\n0\t8\t"\tü\u2028x\r\n')

    assert table.texts == ["eins", "ü\u2028x"]
    assert table.pairs == ["zwei", '"']
    assert table.labels == ["1", "0"]
    assert table.lines == [2, 4]
    assert table.indices == [0, 1]
    assert table.keys() == [("eins", "zwei"), ("ü\u2028x", '"')]


def test_numbered_columns_are_read_with_and_without_names(read):
    perhaps = Format(header_cells=frozenset({"label"}))
    for first in ("", "text_a\ttext_b\tlabel\n"):
        table = read(f"{first}x\ty\t1\n", NUMBERED, perhaps)
        assert (table.texts, table.pairs, table.labels) == (["x"], ["y"], ["1"])


def test_json_lines_are_read(read):
    table = read(
        '{"a": "x", "label": 1}\n{"label": "0", "a": "y"}\n',
        Columns("a", None, "label"),
        Format(kind=tables.JSONL),
    )
    assert (table.texts, table.pairs, table.labels) == (["x", "y"], None, ["1", "0"])


def test_test_files_may_lack_the_label(read):
    assert read("a\tb\nx\ty\n", needs_label=False).labels is None
    assert read("x\ty\n", NUMBERED, needs_label=False).labels is None
    assert read("x\ty\t1\n", NUMBERED, needs_label=False).labels == ["1"]


def test_placeholders_in_a_test_file_are_no_labels(read, capsys):
    table = read("a\tb\tlabel\nx\ty\t-1\nz\tw\t-1\n")
    assert tables.drop_placeholders(table, ("0", "1")).labels is None
    assert "all its labels are '-1', which means" in capsys.readouterr().out
    assert tables.drop_placeholders(table, ("-1", "1")) is table
    mixed = read("a\tb\tlabel\nx\ty\t-1\nz\tw\t1\n")
    assert tables.drop_placeholders(mixed, ("0", "1")) is mixed


def test_an_unknown_label_is_named_with_some_of_the_known(read):
    table = read("a\tb\tlabel\nx\ty\tgood\n")
    names = [f"c{number}" for number in range(15)]
    assert str(tables.unknown_label_error(table, 0, names)).endswith(
        "train.tsv, line 2: the label 'good' is unknown; the labels are c0, c1, c2, "
        "c3, c4, c5, c6, c7, c8, c9, c10, c11 and 3 more. Correct the line, or check "
        "which column holds the label."
    )


def test_undecided_labels_are_left_out(read):
    table = read("a\tb\tlabel\nx\ty\t-\nz\tw\t1\n", dropped_labels=frozenset({"-"}))
    assert (table.texts, table.lines, table.indices) == (["z"], [3], [1])


def test_torn_rows_are_left_out_where_a_set_has_them(read, capsys):
    table = read(
        "a\tb\tlabel\nx\ntorn\ty\t1\n", file_format=Format(skips_short_rows=True)
    )
    assert (table.texts, table.indices) == (["torn"], [1])
    assert "1 row(s) lack a field and are left out." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        ("", {}, "train.tsv is empty: put one example on each line."),
        ("\n \n", {}, "train.tsv is empty"),
        ("a\tb\tlabel\n", {}, "on each line below the line of names."),
        (
            "a\tc\tlabel\nx\ty\t1\n",
            {},
            "has no column 'b'; its first line names 'a', 'c', 'label'",
        ),
        ("a\tb\tlabel\nx\ty\n", {}, "line 2: there are 2 columns, but column 2 "),
        (
            "x\ty\t1\nx\n",
            {"columns": NUMBERED},
            "line 2: there are 1 columns, but column 1 (counted from 0) is needed",
        ),
        ("x\ty\n", {"columns": NUMBERED}, "there are 2 columns, but column 2 "),
        (b"a\tb\tlabel\n\xff", {}, "is not UTF-8 at byte 10: convert it to UTF-8."),
        (
            '{"a": "x"}\n',
            {"file_format": Format(kind=tables.JSONL)},
            "there is no 'b' (its keys are a); add it.",
        ),
        (
            '{"a": 1, "b": 2, "label": 3}\n[1]\n',
            {"file_format": Format(kind=tables.JSONL)},
            "line 2: a JSON object is needed, found a list; write one example on each",
        ),
        (
            '{"a": "x", "b": ["y", "z"], "label": 1}\n',
            {"file_format": Format(kind=tables.JSONL)},
            "line 1: 'b' is a list, and a text or a number is needed: write one, or",
        ),
        (
            "a\tb\tlabel\nx\ty\t1\nx\ty\t \n",
            {},
            "line 3: the label is empty: write it, or leave the line out.",
        ),
        (
            "{\n",
            {"file_format": Format(kind=tables.JSONL)},
            "line 1: no JSON object (Expecting property name",
        ),
        (
            "[" * 100_000,
            {"file_format": Format(kind=tables.JSONL)},
            "line 1: no JSON object (it is nested too deeply",
        ),
        (
            '{"a": "x", "b": "y", "label": null}\n',
            {"file_format": Format(kind=tables.JSONL)},
            "line 1: 'label' is null; write it.",
        ),
        (
            "a\tb\ta\tlabel\nx\ty\tz\t1\n",
            {},
            "2 columns are called 'a' in its first line: give each a name of its own.",
        ),
    ],
)
def test_bad_files_are_refused(read, text, settings, message):
    with pytest.raises(ValueError, match="train.tsv") as error:
        read(text, **settings)
    assert message in str(error.value)


def test_missing_file_is_refused_with_what_is_there(tmp_path):
    (tmp_path / "dev.tsv").write_text("")
    with pytest.raises(ValueError, match=r"\(its folder holds dev.tsv\)"):
        tables.read_table(str(tmp_path / "train.tsv"), NAMED, Format())
    with pytest.raises(ValueError, match=r"\(there is no folder '.*/no'\)"):
        tables.read_table(str(tmp_path / "no" / "train.tsv"), NAMED, Format())

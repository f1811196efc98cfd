"""CSV and TSV files with a header -> documents."""

import csv
from collections.abc import Iterable, Iterator, Sequence

from data_prep.text import fields, lines

# Characters of a field; `csv` allows 131,072 by default, less than a long document.
_LONGEST_FIELD = 1 << 26


def read(
    path: str,
    blocks: Iterable[bytes],
    text_fields: Sequence[str],
    on_bad_utf8: str,
    is_tsv: bool,
) -> Iterator[str]:
    """Yield the documents of a table, one sentence a line.

    In a CSV file quotes may enclose a field, and then line ends too (RFC 4180); in a
    TSV file quotes mean nothing, as in GLUE's and CLUE's.

    Args:
        path: for messages.
        blocks: the file's bytes.
        text_fields: columns, see `fields.join_fields`.
        on_bad_utf8: see `lines.decode`.
        is_tsv: whether tabs separate the fields.

    Raises:
        ValueError: it is no such table, or lacks a column.
    """
    csv.field_size_limit(_LONGEST_FIELD)
    texts = lines.decode(path, blocks, on_bad_utf8)
    rows = csv.reader(
        (line + "\n" for _, line in lines.number_lines(texts)),
        strict=True,
        **({"delimiter": "\t", "quoting": csv.QUOTE_NONE} if is_tsv else {}),
    )
    header: list[str] = []
    try:
        for row in rows:
            where = f"--input_file {path!r} line {rows.line_num}"
            if not header:
                header = row
                _check_header(header, text_fields, where)
            elif row:
                yield fields.join_fields(
                    _name_columns(row, header, where), text_fields, where
                )
    except csv.Error as error:
        raise ValueError(
            f"--input_file {path!r} line {rows.line_num} is no row of a table "
            f"({error}): repair it, or name the file .txt if it is plain text."
        ) from error


def _check_header(header: list[str], text_fields: Sequence[str], where: str) -> None:
    missing = [field for field in text_fields if field not in header]
    if missing:
        raise ValueError(
            f"{where} has no column {missing[0]!r}, only {fields.list_names(header)}: "
            "name the column that holds the document with --text_field; the first "
            "line must be the header."
        )


def _name_columns(row: list[str], header: list[str], where: str) -> dict[str, str]:
    if len(row) != len(header):
        raise ValueError(
            f"{where} has {len(row)} columns, and the header has {len(header)}: "
            "repair the row."
        )
    return dict(zip(header, row, strict=True))

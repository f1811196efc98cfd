"""Read a task's files: bytes, lines, and texts and labels by column.

Imports nothing heavy, because the tables of data sets that --help shows use it.
"""

import dataclasses
import itertools
import os
from collections.abc import Iterator, Sequence

from data_prep import storage

# The names of the splits of every task.
TRAIN, DEV, TEST = "train", "dev", "test"
SPLITS = (TRAIN, DEV, TEST)
TSV, JSONL = "tsv", "jsonl"
Column = str | int
# Some test files have one of these in place of every label, because their labels are
# secret; the datasets library writes "-1".
_PLACEHOLDERS = frozenset({"", "-1", "-1.0"})
# The most names, and the most files of a folder, that an error lists.
_NAMES_SHOWN, _FILES_SHOWN = 12, 8


def read_bytes(path: str) -> bytes:
    """Return a file's content.

    Args:
        path: local or any that `tf.io.gfile` opens.

    Raises:
        ValueError: it does not exist, or is a folder.
    """
    try:
        return storage.read_bytes(path)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        folder = os.path.dirname(path) or "."
        found = f"there is no folder {folder!r}"
        if storage.isdir(path):
            found = "it is a folder"
        elif storage.isdir(folder):
            names = sorted(storage.listdir(folder))
            found = f"its folder holds {', '.join(names[:_FILES_SHOWN]) or 'nothing'}"
        raise ValueError(
            f"{path} cannot be read ({found}): name a file that is there."
        ) from error


def read_lines(path: str) -> list[str]:
    """Return the lines of a UTF-8 file, without their ends; line 1 is the first.

    Not splitlines(): texts may hold U+2028 and the like.

    Raises:
        ValueError: it does not exist, is a folder, or is not UTF-8.
    """
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not UTF-8 at byte {error.start}: convert it to UTF-8."
        ) from error
    return [line.removesuffix("\r") for line in text.split("\n")]


@dataclasses.dataclass(frozen=True)
class Columns:
    """Where an example's fields are.

    Attributes:
        text_a: the text, or the first of a pair: a name from the file's first line, or
            a number from 0 if the file has no such line.
        text_b: the second text; None for single texts.
        label: class or score.
    """

    text_a: Column
    text_b: Column | None = None
    label: Column | None = None


@dataclasses.dataclass(frozen=True)
class Format:
    """How a file holds its rows.

    Attributes:
        kind: `TSV` or `JSONL`.
        separator: between the fields of a TSV row; quotes mean nothing.
        header_cells: for numbered columns: a first line with one of these as its label
            or first text is a header, and is left out.
        skips_short_rows: whether rows that lack a field are left out and counted.
    """

    kind: str = TSV
    separator: str = "\t"
    header_cells: frozenset[str] = frozenset()
    skips_short_rows: bool = False


@dataclasses.dataclass(frozen=True)
class Table:
    """The rows of one file.

    Attributes:
        path: the file.
        texts: first texts.
        pairs: second texts, or None.
        labels: labels as the file spells them, or None if it has none.
        lines: the line of each row, from 1.
        indices: the number of each row in the file, from 0: rows that are left out
            count, blank lines do not.
    """

    path: str
    texts: list[str]
    pairs: list[str] | None
    labels: list[str] | None
    lines: list[int]
    indices: list[int]

    def __len__(self) -> int:
        return len(self.texts)

    def keys(self) -> list[tuple[str, ...]]:
        """Return each row's texts."""
        return list(zip(self.texts, *([self.pairs] if self.pairs else []), strict=True))


def read_table(
    path: str,
    columns: Columns,
    file_format: Format,
    needs_label: bool = True,
    dropped_labels: frozenset[str] = frozenset(),
) -> Table:
    """Read one file.

    Args:
        path: local or any that `tf.io.gfile` opens.
        columns: where the fields are.
        file_format: how the file is written.
        needs_label: whether a file without the label's column is refused.
        dropped_labels: rows with these are left out, such as OCNLI's "-", on which
            its annotators did not agree.

    Raises:
        ValueError: the file is missing, empty or not UTF-8, or a row lacks a field or
            has one that is no text.
    """
    rows = _iterate_rows(path, file_format)
    first = next(rows, None)
    names = None
    if first is not None and file_format.kind == TSV:
        if isinstance(columns.text_a, str):
            names, first = first[1], next(rows, None)
        elif file_format.header_cells & {
            _cell(first[1], columns.label),
            _cell(first[1], columns.text_a),
        }:
            first = next(rows, None)
    if first is None:
        raise ValueError(
            f"{path} is empty: put one example on each line"
            f"{' below the line of names' if names else ''}."
        )
    if not needs_label and not _has(columns.label, names, first[1]):
        columns = dataclasses.replace(columns, label=None)
    wanted = [columns.text_a, columns.text_b, columns.label]
    places = [_find_place(column, names, first, path) for column in wanted]
    table = _collect(path, places, first, rows, file_format, dropped_labels)
    if needs_label and table.labels is not None:
        _refuse_empty_label(table)
    return table


def drop_placeholders(table: Table, names: Sequence[str]) -> Table:
    """Return a test file without its labels if all of them are placeholders.

    Args:
        table: a test file's.
        names: names of the classes, which are no placeholders even if one is "-1".
    """
    if table.labels is None or not set(table.labels) <= _PLACEHOLDERS - set(names):
        return table
    print(
        f"{table.path}: all its labels are {table.labels[0]!r}, which means that there "
        "are none; it is predicted and not measured.",
        flush=True,
    )
    return dataclasses.replace(table, labels=None)


def shorten_names(names: Sequence[str]) -> str:
    """Return names for a message, only the first ones if there are many."""
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(names[:_NAMES_SHOWN]) + more


def unknown_label_error(table: Table, row: int, names: Sequence[str]) -> ValueError:
    """Return the error for a row whose label is none of the classes.

    Args:
        table: has labels.
        row: its index in the table.
        names: names of the classes.
    """
    return ValueError(
        f"{table.path}, line {table.lines[row]}: the label {table.labels[row]!r} is "
        f"unknown; the labels are {shorten_names(names)}. Correct the line, or check "
        "which column holds the label."
    )


def _collect(path, places, first, rows, file_format, dropped_labels) -> Table:
    kept: list[list[str]] = []
    lines, indices, skipped = [], [], 0
    for index, (line, row) in enumerate(itertools.chain([first], rows)):
        _refuse_nested(path, line, row, places)
        fields = [None if place is None else _cell(row, place) for place in places]
        if fields[2] is not None:
            fields[2] = fields[2].strip()
        lacking = [
            place
            for place, field in zip(places, fields, strict=True)
            if place is not None and field is None
        ]
        if lacking and file_format.skips_short_rows:
            skipped += 1
        elif lacking:
            raise ValueError(_describe_lacking(path, line, row, lacking[0]))
        elif fields[2] not in dropped_labels:
            kept.append(fields)
            lines.append(line)
            indices.append(index)
    if skipped:
        print(f"{path}: {skipped} row(s) lack a field and are left out.", flush=True)
    if not kept:
        raise ValueError(f"{path} has no row that can be used: check its columns.")
    texts, pairs, labels = (list(each) for each in zip(*kept, strict=True))
    return Table(
        path,
        texts,
        pairs if places[1] is not None else None,
        labels if places[2] is not None else None,
        lines,
        indices,
    )


def _refuse_nested(path: str, line: int, row, places: list[Column | None]) -> None:
    if not isinstance(row, dict):
        return
    for place in places:
        if isinstance(row.get(place), (dict, list)):
            raise ValueError(
                f"{path}, line {line}: {place!r} is a {type(row[place]).__name__}, and "
                "a text or a number is needed: write one, or name another key."
            )


def _refuse_empty_label(table: Table) -> None:
    for line, label in zip(table.lines, table.labels, strict=True):
        if not label.strip():
            raise ValueError(
                f"{table.path}, line {line}: the label is empty: write it, or leave "
                "the line out."
            )


def _describe_lacking(path: str, line: int, row, place: Column) -> str:
    if isinstance(row, dict):
        found = f"its keys are {', '.join(row)}"
        if place in row:
            return f"{path}, line {line}: {place!r} is null; write it."
        return f"{path}, line {line}: there is no {place!r} ({found}); add it."
    return (
        f"{path}, line {line}: there are {len(row)} columns, but column {place} "
        "(counted from 0) is needed; repair the line or name other columns."
    )


def _iterate_rows(path: str, file_format: Format) -> Iterator:
    """Yield (line from 1, list of cells or dict), blank lines left out."""
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        if file_format.kind == TSV:
            yield number, line.split(file_format.separator)
            continue
        try:
            values = storage.parse_json(line)
        except ValueError as error:
            raise ValueError(
                f"{path}, line {number}: no JSON object ({error}); write one example "
                "on each line."
            ) from error
        if not isinstance(values, dict):
            # A whole file may be one line: name its type instead of showing it.
            raise ValueError(
                f"{path}, line {number}: a JSON object is needed, found a "
                f"{type(values).__name__}; write one example on each line."
            )
        yield number, values


def _has(column: Column | None, names: list[str] | None, row) -> bool:
    if column is None:
        return False
    return column in names if names else _cell(row, column) is not None


def _find_place(column: Column | None, names, first, path: str) -> Column | None:
    """Return the index of a column, or its key in JSON; None for no column."""
    if column is None or names is None:
        if column is not None and not _has(column, names, first[1]):
            raise ValueError(_describe_lacking(path, *first, column))
        return column
    if column not in names:
        raise ValueError(
            f"{path} has no column {column!r}; its first line names "
            f"{', '.join(map(repr, names))}: name one of these."
        )
    if names.count(column) > 1:
        raise ValueError(
            f"{path}: {names.count(column)} columns are called {column!r} in its first "
            "line: give each a name of its own."
        )
    return names.index(column)


def _cell(row, column: Column | None) -> str | None:
    if column is None:
        return None
    if isinstance(row, dict):
        value = row.get(column)
        return None if value is None else str(value)
    return row[column] if column < len(row) else None

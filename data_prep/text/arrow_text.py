"""Parquet and Arrow files -> documents; a data set saved by `datasets` is Arrow files.

Row groups are read one after the other, and of the columns only the text.
"""

from collections.abc import Iterator, Sequence

from data_prep import storage
from data_prep.text import fields

_BATCH_ROWS = 1024


def read(path: str, text_fields: Sequence[str], is_parquet: bool) -> Iterator[str]:
    """Yield the documents of a file, one sentence a line.

    Args:
        path: local or remote.
        text_fields: columns, see `fields.join_fields`.
        is_parquet: a Parquet file, else an Arrow file or stream.

    Raises:
        ValueError: pyarrow is not installed, the file is damaged, or lacks a column.
    """
    try:
        import pyarrow as pa
    except ImportError as error:
        raise ValueError(
            f"--input_file {path!r} needs pyarrow ({error}): pip install "
            "'bert_cn[parquet]'."
        ) from error
    kind = "Parquet" if is_parquet else "Arrow"
    row = 0
    with storage.open_seekable(path) as file:
        try:
            batches = (_open_parquet if is_parquet else _open_arrow)(
                pa, file, path, text_fields
            )
            for batch in batches:
                # A damaged file would otherwise end this process.
                batch.validate(full=True)
                columns = [batch.column(field).to_pylist() for field in text_fields]
                for values in zip(*columns, strict=True):
                    row += 1
                    content = dict(zip(text_fields, values, strict=True))
                    where = f"--input_file {path!r} row {row}"
                    yield fields.join_fields(content, text_fields, where)
        # A damaged length asks for more memory than there is.
        except (pa.ArrowException, OSError, UnicodeDecodeError, MemoryError) as error:
            raise ValueError(
                f"--input_file {path!r} cannot be read as {kind} after row {row} "
                f"({_describe(error)}): check that it is whole."
            ) from error


def _describe(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _open_parquet(pa, file, path: str, text_fields: Sequence[str]) -> Iterator:
    from pyarrow import parquet

    table = parquet.ParquetFile(file)
    _check_columns(table.schema_arrow.names, text_fields, path)
    return table.iter_batches(_BATCH_ROWS, columns=list(text_fields))


def _open_arrow(pa, file, path: str, text_fields: Sequence[str]) -> Iterator:
    try:
        batches = pa.ipc.open_stream(file)
        _check_columns(batches.schema.names, text_fields, path)
        return iter(batches)
    except pa.ArrowInvalid:
        file.seek(0)
        batches = pa.ipc.open_file(file)
    _check_columns(batches.schema.names, text_fields, path)
    return (batches.get_batch(index) for index in range(batches.num_record_batches))


def _check_columns(names: Sequence[str], text_fields: Sequence[str], path: str) -> None:
    for field in text_fields:
        if field not in names:
            raise ValueError(
                f"--input_file {path!r} has no column {field!r}, only "
                f"{fields.list_names(names)}: name the column that holds the document "
                "with --text_field."
            )

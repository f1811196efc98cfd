"""JSON files -> documents: one object a line, or one array of objects."""

import itertools
from collections.abc import Iterable, Iterator, Sequence

import ijson

from data_prep import storage
from data_prep.text import byte_ranges, fields, lines

# The beginning of a file that tells an array from objects.
_HEAD_BYTES = 1 << 16


def read(
    path: str, blocks: Iterable[bytes], text_fields: Sequence[str], on_bad_utf8: str
) -> Iterator[str]:
    """Yield the documents of a JSON file, one sentence a line.

    The first character tells which kind it is, not the name.

    Args:
        path: for messages.
        blocks: the file's bytes.
        text_fields: see `fields.join_fields`.
        on_bad_utf8: see `lines.decode`.

    Raises:
        ValueError: it is not JSON of either kind, or an object lacks the document.
    """
    begin, blocks = b"", iter(blocks)
    while not begin.removeprefix(lines.BOM).strip() and (block := next(blocks, b"")):
        begin += block
    blocks = itertools.chain([begin], blocks)
    if begin.removeprefix(lines.BOM).lstrip().startswith(b"["):
        yield from _read_array(path, blocks, text_fields, on_bad_utf8)
    else:
        texts = lines.decode(path, blocks, on_bad_utf8)
        yield from read_lines(path, texts, text_fields)


def is_array(path: str) -> bool:
    """Say whether a file that is not compressed holds one array, by its beginning."""
    with storage.open(path, "rb") as file:
        head = file.read(_HEAD_BYTES)
    return head.removeprefix(lines.BOM).lstrip()[:1] in (b"[", b"")


def read_lines(
    path: str, texts: Iterable[str], text_fields: Sequence[str], begin: int = 0
) -> Iterator[str]:
    """Yield the documents of objects, one a line.

    Args:
        path: for messages.
        texts: from `lines.decode`.
        text_fields: see `fields.join_fields`.
        begin: place of the first line in the file, in bytes.

    Raises:
        ValueError: a line is no object, or lacks the document.
    """
    for number, line in lines.number_lines(texts):
        if line.strip():
            where = _Line(path, number, begin)
            yield _join(_parse(line, where), text_fields, where)


class _Line:
    """The place of a line as words, which only an error needs.

    Args:
        path: the file.
        number: of the line, from 1 on.
        begin: place of line 1 in the file, in bytes.
    """

    def __init__(self, path: str, number: int, begin: int):
        self._path, self._number, self._begin = path, number, begin

    def __str__(self) -> str:
        number = self._number
        if self._begin:
            number += byte_ranges.count_lines(self._path, self._begin)
        return f"--input_file {self._path!r} line {number}"


def _parse(line: str, where: _Line):
    try:
        return storage.parse_json(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{where} is not JSON ({error}): the file must hold one object a line, or "
            "one array of objects."
        ) from error


def _read_array(
    path: str, blocks: Iterable[bytes], text_fields: Sequence[str], on_bad_utf8: str
) -> Iterator[str]:
    number = 0
    for item in _parse_items(path, _repair(blocks, on_bad_utf8)):
        number += 1
        where = f"--input_file {path!r} item {number}"
        yield _join(item, text_fields, where)


def _parse_items(path: str, blocks: Iterable[bytes]) -> Iterator[object]:
    """Yield the elements of the array that a file holds, without holding all."""
    items = ijson.sendable_list()
    parser = ijson.items_coro(items, "item")
    count = 0
    try:
        for block in blocks:
            parser.send(block)
            yield from items
            count += len(items)
            items.clear()
        parser.close()
    except (ijson.JSONError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(
            f"--input_file {path!r} is not JSON after item {count + len(items)} "
            f"({' '.join(str(error).split())[:200]}): the file must hold one array of "
            "objects, or one object a line."
        ) from error
    yield from items


def _repair(blocks: Iterable[bytes], on_bad_utf8: str) -> Iterator[bytes]:
    """Yield the bytes without a BOM; bad ones as U+FFFD if this is asked for."""
    decoder = lines.build_decoder(on_bad_utf8)
    for index, block in enumerate(blocks):
        if index == 0:
            block = block.removeprefix(lines.BOM)
        if decoder is not None:
            block = decoder.decode(block).encode()
        # To the parser nothing means the end.
        if block:
            yield block


def _join(content: object, text_fields: Sequence[str], where: str | _Line) -> str:
    if not isinstance(content, dict):
        raise ValueError(
            f"{where} is not a JSON object: write each document as "
            f'{{"{text_fields[0]}": "..."}}.'
        )
    return fields.join_fields(content, text_fields, where)

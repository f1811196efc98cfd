"""Bytes -> lines of text -> the documents between blank lines.

Lines end at LF and CRLF only: U+2028, form feeds and the like are text, so
`str.splitlines` is never used.
"""

import codecs
import hashlib
import itertools
import re
from collections.abc import Iterable, Iterator

from data_prep import storage
from data_prep.text import compression

ON_BAD_UTF8 = ("fail", "replace")
BOM = codecs.BOM_UTF8
# A line of white space alone ends a document, as with google-research/bert's
# `line.strip()`.
_DOCUMENT_BREAK = re.compile(r"\n(?:[^\S\n]*\n)+")
# A longer document is cut at a line, so that a file without blank lines fits into
# memory.
MAX_DOCUMENT_CHARACTERS = 4 << 20


def decode(
    path: str, blocks: Iterable[bytes], on_bad_utf8: str, begin: int = 0
) -> Iterator[str]:
    """Yield whole lines that end in LF; the last one may lack it.

    Args:
        path: for messages.
        blocks: the file's bytes, with or without BOM.
        on_bad_utf8: one of `ON_BAD_UTF8`: refuse bytes that are not UTF-8, or read them
            as U+FFFD.
        begin: place of the first byte in the file.

    Raises:
        ValueError: the bytes are not UTF-8; the message has the offset.
    """
    done = begin  # bytes of the file up to here
    rest: list[bytes] = []  # the line that is not yet complete, in blocks
    for block in itertools.chain(blocks, (None,)):
        cut = block.rfind(b"\n") + 1 if block is not None else 0
        if block is not None and not cut:
            rest.append(block)
            continue
        data = b"".join([*rest, block[:cut]] if cut else rest)
        rest = [block[cut:]] if cut else []
        if data:
            skip = len(BOM) if done == 0 and data.startswith(BOM) else 0
            text = _decode(data[skip:], path, done + skip, on_bad_utf8)
            done += len(data)
            yield text.replace("\r\n", "\n")


def read_whole(path: str, flag: str) -> tuple[str, str]:
    """Read a small file, such as a dictionary.

    Args:
        path: UTF-8, with or without BOM.
        flag: that names it, for messages.

    Returns:
        (its text, sha256 of its bytes in hexadecimal).

    Raises:
        ValueError: there is no such file, or it is not UTF-8.
    """
    try:
        data = storage.read_bytes(path)
        text = data.decode("utf-8-sig")
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise ValueError(f"--{flag}={path} cannot be read: check the path.") from error
    except UnicodeDecodeError as error:
        raise ValueError(
            f"--{flag}={path} is not UTF-8 at byte {error.start}: convert the file."
        ) from error
    return text, hashlib.sha256(data).hexdigest()


def build_decoder(on_bad_utf8: str) -> codecs.IncrementalDecoder | None:
    """Return what reads bad bytes as U+FFFD; None if they are to be refused."""
    if on_bad_utf8 == "fail":
        return None
    return codecs.getincrementaldecoder("utf-8")("replace")


def number_lines(texts: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Yield (number from 1 on, line without its end).

    Args:
        texts: from `decode`.
    """
    split = (text.removesuffix("\n").split("\n") for text in texts)
    return enumerate(itertools.chain.from_iterable(split), 1)


def split_paragraphs(texts: Iterable[str]) -> Iterator[str]:
    """Yield the documents between blank lines.

    Args:
        texts: from `decode`.
    """
    waiting = "\n"
    for text in texts:
        *complete, waiting = _DOCUMENT_BREAK.split(waiting + text)
        if len(waiting) > MAX_DOCUMENT_CHARACTERS:
            part, _, waiting = waiting.rpartition("\n")
            complete.append(part)
        yield from complete
    yield from _DOCUMENT_BREAK.split(waiting + "\n")


def cut_at_lines(document: str) -> Iterator[str]:
    """Yield a document in parts of whole lines; each part has text."""
    document = document.strip("\n")
    while len(document) > MAX_DOCUMENT_CHARACTERS:
        cut = document.rfind("\n", 0, MAX_DOCUMENT_CHARACTERS)
        if cut < 0:
            break  # a single line
        if document[:cut].strip():
            yield document[:cut]
        document = document[cut + 1 :]
    if document.strip():
        yield document


def _decode(data: bytes, path: str, offset: int, on_bad_utf8: str) -> str:
    if on_bad_utf8 == "replace":
        return data.decode("utf-8", "replace")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        where = offset + error.start
        of_text = " of its text" if compression.find_suffix(path) else ""
        raise ValueError(
            f"--input_file {path!r} is not UTF-8 at byte {where}{of_text}: found "
            f"0x{data[error.start]:02x}; convert the file, for instance with "
            "iconv -f GB18030 -t UTF-8, or pass --on_bad_utf8=replace."
        ) from error

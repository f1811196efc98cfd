"""Text files -> documents -> sentences.

A file holds one sentence a line and a blank line between documents. Lines are split at
LF and CRLF only: U+2028, form feeds and their like are text, so `str.splitlines` is
never used.
"""

import dataclasses
import hashlib
import re
from collections.abc import Iterator

import tensorflow as tf

_BOM = b"\xef\xbb\xbf"
_BLOCK_BYTES = 4 << 20
# A line of nothing but white space ends a document, as google-research/bert's
# `line.strip()` has it.
_DOCUMENT_BREAK = re.compile(r"\n(?:[^\S\n]*\n)+")
# A longer document is cut at a line, so that a file without any blank line stays within
# memory.
MAX_DOCUMENT_CHARACTERS = 4 << 20


@dataclasses.dataclass(frozen=True)
class InputFile:
    """One text file of the corpus.

    Attributes:
        path: any path `tf.io.gfile` opens.
        bytes: its size.
    """

    path: str
    bytes: int


def find_files(patterns: str) -> list[InputFile]:
    """Find the files that a comma list of paths and globs names, sorted by path.

    Raises:
        ValueError: a pattern matches nothing, names a folder or an empty file.
    """
    listed = [pattern.strip() for pattern in patterns.split(",") if pattern.strip()]
    if not listed:
        raise ValueError(
            "--input_file is empty: name a text file, a glob or a comma list."
        )
    paths: set[str] = set()
    for pattern in listed:
        # A file's own name may hold brackets.
        literal = tf.io.gfile.exists(pattern)
        found = [pattern] if literal else tf.io.gfile.glob(pattern)
        if not found:
            raise ValueError(
                f"--input_file {pattern!r} matches no file: check the path, and quote "
                "globs."
            )
        paths.update(found)
    return [_look_at(path) for path in sorted(paths)]


def _look_at(path: str) -> InputFile:
    if tf.io.gfile.isdir(path):
        raise ValueError(
            f"--input_file {path!r} is a folder: name its files, such as "
            f"'{path.rstrip('/')}/*.txt'."
        )
    size = tf.io.gfile.stat(path).length
    if size == 0:
        raise ValueError(
            f"--input_file {path!r} is empty (0 bytes): remove it from --input_file or "
            "put text in it, one sentence a line, a blank line between documents."
        )
    return InputFile(path, size)


def read_documents(
    path: str, sha256: "hashlib._Hash | None" = None
) -> Iterator[tuple[str, int]]:
    """Read one file's documents, one at a time.

    Memory is bounded by `MAX_DOCUMENT_CHARACTERS` and the longest line.

    Args:
        path: a UTF-8 text file, with or without BOM.
        sha256: a running hash that is fed the file's bytes, if given.

    Yields:
        (text, bytes read so far): the document's lines joined by LF, blank lines left
        out, otherwise as they stand in the file.

    Raises:
        ValueError: the file is not UTF-8 (name and byte offset), or holds only white
            space.
    """
    waiting, done, found = "\n", 0, False
    for text, done in _read_text(path, sha256):
        *complete, waiting = _DOCUMENT_BREAK.split(waiting + text)
        if len(waiting) > MAX_DOCUMENT_CHARACTERS:
            part, _, waiting = waiting.rpartition("\n")
            complete.append(part)
        for document in complete:
            if document.strip():
                found = True
                yield document.strip("\n"), done
    for document in _DOCUMENT_BREAK.split(waiting + "\n"):
        if document.strip():
            found = True
            yield document.strip("\n"), done
    if not found:
        raise ValueError(
            f"--input_file {path!r} holds only white space: remove it from "
            "--input_file or put text in it."
        )


def split_sentences(document: str) -> list[str]:
    """Return a document's lines."""
    return document.split("\n")


def _read_text(path: str, sha256: "hashlib._Hash | None") -> Iterator[tuple[str, int]]:
    """Yield (whole lines with LF ends, bytes read so far)."""
    done = 0  # bytes decoded so far
    rest: list[bytes] = []  # the begun line, in blocks
    first = True
    with tf.io.gfile.GFile(path, "rb") as file:
        while True:
            block = file.read(_BLOCK_BYTES)
            if sha256 is not None:
                sha256.update(block)
            cut = block.rfind(b"\n") + 1 if block else 0
            if block and not cut:
                rest.append(block)
                continue
            data = b"".join([*rest, block[:cut]])
            rest = [block[cut:]]
            if data:
                skip = len(_BOM) if first and data.startswith(_BOM) else 0
                first = False
                text = _decode(data[skip:], path, done + skip)
                done += len(data)
                yield text.replace("\r\n", "\n"), done
            if not block:
                return


def _decode(data: bytes, path: str, offset: int) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        where = offset + error.start
        hint = ""
        if offset == 0 and data[:2] in (b"\xff\xfe", b"\xfe\xff"):
            hint = " (it begins as UTF-16 does)"
        raise ValueError(
            f"--input_file {path!r} is not UTF-8 at byte {where}: found "
            f"0x{data[error.start]:02x}{hint}; convert the file, for instance with "
            "iconv -f GB18030 -t UTF-8."
        ) from error

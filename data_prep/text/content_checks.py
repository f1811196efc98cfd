"""Whether a file holds what its name says, from its first bytes.

Text that is something else is tokenized without an error: braces, tags and zeros become
[UNK] or tokens, and a model is trained on them.
"""

import codecs
import itertools
import json
from collections.abc import Iterable, Iterator

# The beginning that is looked at, in bytes or characters, and its lines.
_HEAD_SIZE = 1 << 16
_NUM_LINES = 3
_COMPRESSIONS = (
    (b"\x1f\x8b", "gzip", ".gz"),
    (b"BZh", "bzip2", ".bz2"),
    (b"\xfd7zXZ\0", "xz", ".xz"),
    (b"\x28\xb5\x2f\xfd", "Zstandard", ".zst"),
)
_OTHERS = (
    (b"PAR1", "is a Parquet file: name it .parquet."),
    (b"ARROW1", "is an Arrow file: name it .arrow."),
    (b"%PDF", "is a PDF file: extract its text first."),
    (b"PK\x03\x04", "is a zip archive (or .docx, .xlsx): unpack it first."),
)
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def check_text(path: str, blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the bytes of a text file of any format; refuse what is no text.

    Args:
        path: for messages.
        blocks: the file's bytes, decompressed if its ending says so.

    Raises:
        ValueError: it is compressed, binary or UTF-16; the message has the remedy.
    """
    head, blocks = _look_ahead(blocks)
    problem = _find_binary(b"".join(head))
    if problem:
        raise ValueError(f"--input_file {path!r} {problem}")
    return blocks


def _look_ahead(pieces: Iterable) -> tuple[list, Iterator]:
    """Return the first pieces, of `_HEAD_SIZE` in all, and an iterator over all."""
    pieces = iter(pieces)
    head, size = [], 0
    for piece in pieces:
        head.append(piece)
        size += len(piece)
        if size >= _HEAD_SIZE:
            break
    return head, itertools.chain(head, pieces)


def _find_binary(head: bytes) -> str:
    for magic, name, ending in _COMPRESSIONS:
        if head.startswith(magic):
            return f"is compressed by {name}, which its name hides: end it in {ending}."
    for magic, problem in _OTHERS:
        if head.startswith(magic):
            return problem
    if head.startswith(_UTF16):
        return (
            "is not UTF-8 at byte 0: it begins as UTF-16 does; convert it, for "
            "instance with iconv -f UTF-16 -t UTF-8."
        )
    if b"\0" in head[:_HEAD_SIZE]:
        place = head.index(b"\0")
        return (
            f"is no text: byte {place} is 0, as in binary files; name text files "
            "alone, or remove the zeros, for instance with tr -d '\\0'."
        )
    return ""


def check_plain(path: str, texts: Iterable[str]) -> Iterator[str]:
    """Yield the text of a file without structure; refuse JSON and HTML.

    Args:
        path: for messages.
        texts: the file's text, in pieces of whole lines.

    Raises:
        ValueError: it is JSON, HTML or WikiExtractor's; the message has the remedy.
    """
    head, texts = _look_ahead(texts)
    problem = _find_markup("".join(head)[:_HEAD_SIZE])
    if problem:
        raise ValueError(f"--input_file {path!r} {problem}")
    return texts


def _find_markup(head: str) -> str:
    begin = head.lstrip()[:200].lower()
    if begin.startswith(("<!doctype html", "<html")):
        return "is HTML, whose tags are no text: extract its text first."
    if begin.startswith("<doc id="):
        return (
            "is WikiExtractor's output, whose tags are no text: run WikiExtractor with "
            "--json and name the files .jsonl."
        )
    lines = [line for line in head.split("\n", 50)[:50] if line.strip()][:_NUM_LINES]
    if lines and all(map(_is_json_object, lines)):
        return "holds JSON lines, whose braces are no text: name it .jsonl."
    if begin.startswith(("[{", "[\n{", "{\n")) and '"' in begin:
        return "looks like JSON, whose braces are no text: name it .json."
    return ""


def _is_json_object(line: str) -> bool:
    if not line.lstrip().startswith("{"):
        return False
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False

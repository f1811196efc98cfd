"""Text files -> documents -> sentences.

A text file holds one sentence a line and a blank line between documents. A .jsonl file
holds one JSON object a line, each with one document. Both may be compressed. Lines end
at LF and CRLF only: U+2028, form feeds and the like are text, so `str.splitlines` is
never used.
"""

import dataclasses
import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Sequence

from data_prep import storage
from data_prep.text import compression

JSON_LINES_SUFFIX = ".jsonl"
ON_BAD_UTF8 = ("fail", "replace")
_BOM = b"\xef\xbb\xbf"
_BLOCK_BYTES = 4 << 20
_COMPRESSED_BLOCK_BYTES = 1 << 16
# A line of white space alone ends a document, as with google-research/bert's
# `line.strip()`.
_DOCUMENT_BREAK = re.compile(r"\n(?:[^\S\n]*\n)+")
# A sentence ends after these marks and the quotes and brackets that close after them.
_SENTENCE_END = re.compile("([。！？；!?;…]+[”’」』》）】\"')]*)")
# A longer document is cut at a line, so that a file without blank lines fits into
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

    @property
    def text_bytes(self) -> int:
        """Bytes of its text; a guess on the high side if the file is compressed."""
        return self.bytes * compression.estimate_expansion(self.path)


@dataclasses.dataclass(frozen=True)
class ReadingRules:
    """How files are read.

    Attributes:
        text_field: name of the field that holds the document in a .jsonl file.
        on_bad_utf8: one of `ON_BAD_UTF8`: refuse bytes that are not UTF-8, or read them
            as U+FFFD, which our tokenizer drops, as google-research/bert's does.
    """

    text_field: str = "text"
    on_bad_utf8: str = "fail"


DEFAULT_RULES = ReadingRules()


def find_files(patterns: str) -> list[InputFile]:
    """Return the files that a comma list of paths and globs names, sorted by path.

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
        # Brackets in the name of an existing file are not a glob.
        literal = storage.exists(pattern)
        found = [pattern] if literal else storage.glob(pattern)
        if not found:
            raise ValueError(
                f"--input_file {pattern!r} matches no file: check the path, and quote "
                "globs."
            )
        paths.update(found)
    return [_check_file(path) for path in sorted(paths)]


def check_text_field(files: Sequence[InputFile], text_field: str) -> None:
    """Raise ValueError if --text_field was given but no file is JSON lines."""
    if not any(is_json_lines(file.path) for file in files):
        raise ValueError(
            f"--text_field={text_field} is for JSON lines, and no --input_file ends in "
            f"{JSON_LINES_SUFFIX}: give them that ending, or leave it out."
        )


def _check_file(path: str) -> InputFile:
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"--input_file {path!r} has a name that is not UTF-8: rename the file."
        ) from error
    if storage.isdir(path):
        raise ValueError(
            f"--input_file {path!r} is a folder: name its files, such as "
            f"'{path.rstrip('/')}/*.txt'."
        )
    size = storage.stat(path).length
    if size == 0:
        raise ValueError(
            f"--input_file {path!r} is empty (0 bytes): remove it from --input_file or "
            "put text in it, one sentence a line, a blank line between documents."
        )
    return InputFile(path, size)


def read_documents(
    path: str,
    sha256: "hashlib._Hash | None" = None,
    rules: ReadingRules = DEFAULT_RULES,
) -> Iterator[tuple[str, int]]:
    """Read one file's documents, one at a time.

    Memory is bounded by `MAX_DOCUMENT_CHARACTERS` and the longest line.

    Args:
        path: a UTF-8 text file, with or without BOM, compressed or not by its ending.
        sha256: a running hash to update with the file's bytes, or None.
        rules: how the file is read.

    Yields:
        (text, bytes of the file read so far). The text is the document's lines joined
        by LF, without blank lines and otherwise as they stand in the file. The text of
        a JSON line has one sentence a line.

    Raises:
        ValueError: the file is not UTF-8 (the message has the byte's offset), is not
            what its ending says, has a JSON line without the document, or holds only
            white space.
    """
    blocks = _Blocks(path, sha256)
    texts = _read_text(path, compression.decompress(path, blocks), rules.on_bad_utf8)
    documents = _read_paragraphs(texts)
    if is_json_lines(path):
        documents = _read_json_lines(path, texts, rules.text_field)
    found = False
    for document in documents:
        for part in _cut_at_lines(document):
            found = True
            yield part, blocks.done
    if not found:
        raise ValueError(
            f"--input_file {path!r} holds only white space: remove it from "
            "--input_file or put text in it."
        )


def is_json_lines(path: str) -> bool:
    """Say whether a file's name ends in .jsonl, such as a.jsonl or a.jsonl.gz."""
    return path.removesuffix(compression.find_suffix(path)).endswith(JSON_LINES_SUFFIX)


def split_sentences(document: str) -> list[str]:
    """Return a document's lines, each a sentence."""
    return document.split("\n")


def break_into_sentences(text: str) -> str:
    """Return a text with one sentence a line.

    Line ends within the text stay; blank lines do not.
    """
    lines = _SENTENCE_END.sub(r"\1\n", text.replace("\r\n", "\n")).split("\n")
    return "\n".join(line.strip() for line in lines if line.strip())


class _Blocks:
    """A file's bytes, block by block.

    Attributes:
        done: bytes read so far.
    """

    def __init__(self, path: str, sha256: "hashlib._Hash | None"):
        self._path, self._sha256 = path, sha256
        self.done = 0

    def __iter__(self) -> Iterator[bytes]:
        compressed = compression.find_suffix(self._path)
        size = _COMPRESSED_BLOCK_BYTES if compressed else _BLOCK_BYTES
        with storage.open(self._path, "rb") as file:
            while block := file.read(size):
                if self._sha256 is not None:
                    self._sha256.update(block)
                self.done += len(block)
                yield block


def _read_text(path: str, blocks: Iterable[bytes], on_bad_utf8: str) -> Iterator[str]:
    """Yield whole lines that end in LF; the last one may lack it."""
    done = 0  # bytes decoded so far
    rest: list[bytes] = []  # the line that is not yet complete, in blocks
    for block in itertools.chain(blocks, (None,)):
        cut = block.rfind(b"\n") + 1 if block is not None else 0
        if block is not None and not cut:
            rest.append(block)
            continue
        data = b"".join([*rest, block[:cut]] if cut else rest)
        rest = [block[cut:]] if cut else []
        if data:
            skip = len(_BOM) if done == 0 and data.startswith(_BOM) else 0
            text = _decode(data[skip:], path, done + skip, on_bad_utf8)
            done += len(data)
            yield text.replace("\r\n", "\n")


def _read_paragraphs(texts: Iterable[str]) -> Iterator[str]:
    """Yield the documents between blank lines."""
    waiting = "\n"
    for text in texts:
        *complete, waiting = _DOCUMENT_BREAK.split(waiting + text)
        if len(waiting) > MAX_DOCUMENT_CHARACTERS:
            part, _, waiting = waiting.rpartition("\n")
            complete.append(part)
        yield from complete
    yield from _DOCUMENT_BREAK.split(waiting + "\n")


def _read_json_lines(path: str, texts: Iterable[str], text_field: str) -> Iterator[str]:
    """Yield the document of each JSON line, one sentence a line."""
    number = 0
    for text in texts:
        for line in text.removesuffix("\n").split("\n"):
            number += 1
            if line.strip():
                where = f"--input_file {path!r} line {number}"
                yield break_into_sentences(_find_text(line, text_field, where))


def _find_text(line: str, text_field: str, where: str) -> str:
    try:
        content = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{where} is not JSON ({error}): a .jsonl file holds one object a line."
        ) from error
    if not isinstance(content, dict):
        raise ValueError(
            f"{where} is not a JSON object: write each document as "
            f'{{"{text_field}": "..."}}.'
        )
    if text_field not in content:
        raise ValueError(
            f"{where} has no field {text_field!r}, only {', '.join(sorted(content))}: "
            "name the field that holds the document with --text_field."
        )
    text = content[text_field]
    if not isinstance(text, str):
        raise ValueError(
            f"{where} has no text but {type(text).__name__} in the field "
            f"{text_field!r}: name another field with --text_field."
        )
    # JSON may hold half of a surrogate pair, such as \ud83d, which is no character.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _cut_at_lines(document: str) -> Iterator[str]:
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
        hint = ""
        if offset == 0 and data[:2] in (b"\xff\xfe", b"\xfe\xff"):
            hint = " (it begins as UTF-16 does)"
        of_text = " of its text" if compression.find_suffix(path) else ""
        raise ValueError(
            f"--input_file {path!r} is not UTF-8 at byte {where}{of_text}: found "
            f"0x{data[error.start]:02x}{hint}; convert the file, for instance with "
            "iconv -f GB18030 -t UTF-8, or pass --on_bad_utf8=replace."
        ) from error

"""Input files -> documents, whatever their format.

A text file holds one sentence a line and a blank line between documents. JSON files,
tables, Parquet and Arrow files hold one document an object or row. All but the last two
may be compressed.
"""

import dataclasses
import hashlib
import itertools
import os
import re
from collections.abc import Callable, Iterator, Sequence

from data_prep import storage
from data_prep.text import (
    arrow_text,
    byte_ranges,
    compression,
    content_checks,
    csv_text,
    json_text,
    lines,
)

_BLOCK_BYTES = 4 << 20
_COMPRESSED_BLOCK_BYTES = 1 << 16
_JSON = (".jsonl", ".ndjson", ".json")
_TABLES = (".csv", ".tsv")
_ARROW = (".parquet", ".arrow")
# Files with fields; every other name is that of a text file.
STRUCTURED = (*_JSON, *_TABLES, *_ARROW)
# What a folder is searched for, beside `STRUCTURED` and names without an ending.
_PLAIN = (".txt", ".text")
# A pattern and the weight of its text.
_WEIGHTED = re.compile(r"(.+):(\d+(?:\.\d+)?)")
MAX_COPIES = 1000
# A folder that `datasets` saved to disk has these.
_DATASET_STATE, _DATASET_DICT = "state.json", "dataset_dict.json"


@dataclasses.dataclass(frozen=True)
class InputFile:
    """One file of the corpus.

    Attributes:
        path: any path `tf.io.gfile` opens.
        bytes: its size.
        copies: times that its documents are used; 1.5 for half of them twice.
    """

    path: str
    bytes: int
    copies: float = 1.0

    @property
    def text_bytes(self) -> float:
        """Bytes of its text; a guess on the high side if the file is compressed."""
        expansion = compression.estimate_expansion(self.path)
        if find_format(self.path) in _ARROW:
            expansion = compression.PARQUET_EXPANSION
        return self.bytes * expansion * self.copies

    def plan_ranges(self) -> list[byte_ranges.ByteRange]:
        """Return the parts of it that may be read apart, in order."""
        if find_border_kind(self.path) is None:
            return [byte_ranges.WHOLE]
        return byte_ranges.plan(self.bytes)


@dataclasses.dataclass(frozen=True)
class ReadingRules:
    """How files are read.

    Attributes:
        text_field: names of the fields that hold the document in files with fields,
            separated by commas.
        on_bad_utf8: one of `lines.ON_BAD_UTF8`: refuse bytes that are not UTF-8, or
            read them as U+FFFD, which our tokenizer drops, as google-research/bert's
            does.
    """

    text_field: str = "text"
    on_bad_utf8: str = "fail"

    @property
    def text_fields(self) -> tuple[str, ...]:
        """The names one by one."""
        return tuple(name.strip() for name in self.text_field.split(","))


DEFAULT_RULES = ReadingRules()


def find_files(
    patterns: str, warn: Callable[[str], None] = lambda _: None
) -> list[InputFile]:
    """Return the files that a comma list of paths and globs names, sorted by path.

    A folder stands for all files in it and below it that can be read. An entry may have
    a weight, as `news*.txt:2`, an entry without one then has 1: the text of each is
    used as often as its weight says, by bytes; that of one entry once, others more.

    Args:
        patterns: the list.
        warn: takes a sentence about files of a folder that are left out.

    Raises:
        ValueError: a pattern matches nothing, names an empty file or has the weight 0,
            or a file has two weights.
    """
    listed = [pattern.strip() for pattern in patterns.split(",") if pattern.strip()]
    if not listed:
        raise ValueError(
            "--input_file is empty: name a text file, a folder, a glob or a comma list."
        )
    weighted = [_split_weight(pattern) for pattern in listed]
    groups = [
        [_check_file(path) for path in _expand(pattern, warn)]
        for pattern, _ in weighted
    ]
    files: dict[str, InputFile] = {}
    for (pattern, weight), copies, group in zip(
        weighted, _count_copies(weighted, groups), groups, strict=True
    ):
        for file in group:
            named = dataclasses.replace(file, copies=copies)
            if files.setdefault(file.path, named) != named:
                raise ValueError(
                    f"--input_file {pattern!r} with the weight {weight or 1:g} names "
                    f"{file.path!r}, which an entry of another weight names as well: "
                    "name each file once."
                )
    return [files[path] for path in sorted(files)]


def _split_weight(pattern: str) -> tuple[str, float | None]:
    """Return a pattern and its weight, None for none."""
    match = _WEIGHTED.fullmatch(pattern)
    if match is None or storage.exists(pattern):
        return pattern, None
    if not float(match[2]):
        raise ValueError(
            f"--input_file: {pattern!r} has weight 0: leave it out, or give it a "
            "weight."
        )
    return match[1], float(match[2])


def _count_copies(weighted, groups: list[list[InputFile]]) -> list[float]:
    """Return how often each entry's text is used, at least once."""
    if all(weight is None for _, weight in weighted):
        return [1.0] * len(groups)
    rates = [
        (weight or 1.0) / sum(file.text_bytes for file in group)
        for (_, weight), group in zip(weighted, groups, strict=True)
    ]
    copies = [round(rate / min(rates), 4) for rate in rates]
    if max(copies) > MAX_COPIES:
        raise ValueError(
            f"--input_file has weights by which a text is used {max(copies):.0f} "
            f"times, and {MAX_COPIES} is the most: give the smaller text less weight."
        )
    return copies


def _expand(pattern: str, warn: Callable[[str], None]) -> list[str]:
    # Brackets in the name of an existing file are not a glob.
    literal = storage.exists(pattern)
    found = [pattern] if literal else storage.glob(pattern)
    if not found:
        raise ValueError(
            f"--input_file {pattern!r} matches no file: check the path, and quote "
            "globs."
        )
    listed = (
        _list_folder(path, warn) if storage.isdir(path) else [path] for path in found
    )
    return list(itertools.chain.from_iterable(listed))


def check_text_field(files: Sequence[InputFile], text_field: str) -> None:
    """Raise ValueError if --text_field was given but no file has fields."""
    if not any(find_format(file.path) for file in files):
        raise ValueError(
            f"--text_field={text_field} is for files with fields, and no --input_file "
            f"ends in {', '.join(STRUCTURED)}: give them such an ending, or leave it "
            "out."
        )


def find_format(path: str) -> str:
    """Return which of `STRUCTURED` a name ends in, compressed or not; "" for text."""
    name = path.removesuffix(compression.find_suffix(path))
    return next((ending for ending in STRUCTURED if name.endswith(ending)), "")


def find_border_kind(path: str) -> re.Pattern | None:
    """Return what a file can be divided at; None if it is read as a whole."""
    if compression.find_suffix(path):
        return None
    ending = find_format(path)
    if not ending:
        return byte_ranges.BLANK_LINE
    if ending in _JSON and not json_text.is_array(path):
        return byte_ranges.LINE_END
    return None


def _list_folder(folder: str, warn: Callable[[str], None]) -> list[str]:
    """Return the files of a folder that can be read."""
    names = storage.listdir(folder)
    if _DATASET_DICT in names:
        raise ValueError(
            f"--input_file {folder!r} is a data set with several splits: name one of "
            f"its folders, such as {os.path.join(folder, 'train')!r}."
        )
    if _DATASET_STATE in names:
        # Its files are data-00000-of-00004.arrow; caches beside them have other names.
        return [
            os.path.join(folder, name)
            for name in names
            if name.startswith("data-") and name.endswith(".arrow")
        ]
    found, left_out = [], []
    for path in storage.walk(folder):
        name = os.path.basename(path)
        if name.startswith((".", "_")):
            continue
        plain = name.removesuffix(compression.find_suffix(name))
        is_text = plain.endswith(_PLAIN) or "." not in plain
        (found if is_text or find_format(name) else left_out).append(path)
    if not found:
        raise ValueError(
            f"--input_file {folder!r} is a folder without a file that can be read: "
            f"their names end in {', '.join((*_PLAIN, *STRUCTURED))}, or have no "
            "ending."
        )
    if left_out:
        warn(
            f"{len(left_out)} files of {folder!r} were left out for their endings, "
            f"such as {left_out[0]!r}: name them one by one if they are text."
        )
    return found


def _check_file(path: str) -> InputFile:
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"--input_file {path!r} has a name that is not UTF-8: rename the file."
        ) from error
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
    part: byte_ranges.ByteRange = byte_ranges.WHOLE,
) -> Iterator[tuple[str, int]]:
    """Read the documents of a file or of a part of it, one at a time.

    Memory is bounded by `lines.MAX_DOCUMENT_CHARACTERS` and the longest line, object or
    row.

    Args:
        path: a UTF-8 text file, with or without BOM, compressed or not by its ending;
            or of another format by its ending.
        sha256: a running hash to update with the bytes that are read, or None.
        rules: how the file is read.
        part: one of `InputFile.plan_ranges`.

    Yields:
        (text, bytes read so far). The text is the document's lines joined
        by LF, without blank lines and otherwise as they stand in the file. The text of
        a field has one sentence a line.

    Raises:
        ValueError: the file is not UTF-8 (the message has the byte's offset), is not
            what its ending says, has an object or row without the document, or holds
            only white space.
    """
    blocks = _Blocks(path, sha256, part)
    found = False
    for document in _read(path, blocks, rules):
        for part in lines.cut_at_lines(document):
            found = True
            yield part, blocks.done
    if not found and part.is_whole:
        raise ValueError(
            f"--input_file {path!r} holds only white space: remove it from "
            "--input_file or put text in it."
        )


def _read(path: str, blocks: "_Blocks", rules: ReadingRules) -> Iterator[str]:
    ending, names = find_format(path), rules.text_fields
    if ending in _ARROW:
        # The reader jumps within the file, so its bytes are hashed before.
        for _ in blocks:
            pass
        return arrow_text.read(path, names, ending == ".parquet")
    if blocks.begin:
        # The beginning of the file was looked at by who reads that.
        texts = lines.decode(path, blocks, rules.on_bad_utf8, blocks.begin)
        if ending in _JSON:
            return json_text.read_lines(path, texts, names, blocks.begin)
        return lines.split_paragraphs(texts)
    checked = content_checks.check_text(path, compression.decompress(path, blocks))
    if ending in _JSON:
        return json_text.read(path, checked, names, rules.on_bad_utf8)
    if ending in _TABLES:
        return csv_text.read(path, checked, names, rules.on_bad_utf8, ending == ".tsv")
    texts = lines.decode(path, checked, rules.on_bad_utf8)
    return lines.split_paragraphs(content_checks.check_plain(path, texts))


def split_sentences(document: str) -> list[str]:
    """Return a document's lines, each a sentence."""
    return document.split("\n")


class _Blocks:
    """The bytes of a file or of a part of it, block by block.

    Attributes:
        begin: place of the first of them in the file.
        done: bytes read so far.
    """

    def __init__(
        self,
        path: str,
        sha256: "hashlib._Hash | None",
        part: byte_ranges.ByteRange,
    ):
        self._path, self._sha256 = path, sha256
        kind = None if part.is_whole else find_border_kind(path)
        self.begin = part.begin and byte_ranges.find_border(path, part.begin, kind)
        self._end = part.end and byte_ranges.find_border(path, part.end, kind)
        self.done = 0

    def __iter__(self) -> Iterator[bytes]:
        compressed = compression.find_suffix(self._path)
        size = _COMPRESSED_BLOCK_BYTES if compressed else _BLOCK_BYTES
        for block in byte_ranges.read_blocks(self._path, self.begin, self._end, size):
            if self._sha256 is not None:
                self._sha256.update(block)
            self.done += len(block)
            yield block

"""First pass: sort the corpus's documents into one file a group.

A spill file is a run of entries: 16 bytes hash, 4 bytes little-endian length, UTF-8
text. Few files are open at a time: entries wait in memory and are appended together.
"""

import hashlib
import os
import struct
from collections import defaultdict
from collections.abc import Callable

from data_prep import storage
from data_prep.runner import buckets
from data_prep.text import corpus

_WAITING_BYTES = 64 << 20
_HEAD = struct.Struct(f"<{buckets.DIGEST_BYTES}sI")


def spill_documents(
    files: list[corpus.InputFile],
    folder: str,
    num_groups: int,
    random_seed: int,
    report: Callable[[int], None],
    rules: corpus.ReadingRules = corpus.DEFAULT_RULES,
) -> list[str]:
    """Write every document of the files to the file of its group.

    Args:
        files: the corpus.
        folder: an existing, empty local folder.
        num_groups: each gets a file, if any document falls into it.
        random_seed: key of the hash.
        report: is told the number of bytes read since its last call.
        rules: how the files are read.

    Returns:
        The sha256 of each file, in hexadecimal.
    """
    waiting: dict[int, bytearray] = defaultdict(bytearray)
    size = 0
    checksums = []
    for file in files:
        sha256 = hashlib.sha256()
        before = 0
        for text, done in corpus.read_documents(file.path, sha256, rules):
            digest = buckets.hash_document(text, random_seed)
            data = text.encode("utf-8")
            group = waiting[buckets.find_group(digest, num_groups)]
            group += _HEAD.pack(digest, len(data))
            group += data
            size += len(data)
            if size > _WAITING_BYTES:
                _flush(waiting, folder)
                size = 0
            if done > before:
                report(done - before)
                before = done
        report(file.bytes - before)
        checksums.append(sha256.hexdigest())
    _flush(waiting, folder)
    return checksums


def load_group(folder: str, group: int) -> list[str]:
    """Return a group's documents in the order of their hashes."""
    path = spill_path(folder, group)
    if not os.path.exists(path):
        return []
    with open(path, "rb") as file:
        data = file.read()
    entries = []
    place = 0
    while place < len(data):
        digest, length = _HEAD.unpack_from(data, place)
        place += _HEAD.size
        entries.append((digest, data[place : place + length]))
        place += length
    entries.sort()
    return [text.decode("utf-8") for _, text in entries]


def group_bytes(folder: str, group: int) -> int:
    """Return the size of a group's spill file."""
    path = spill_path(folder, group)
    return os.path.getsize(path) if os.path.exists(path) else 0


def spill_path(folder: str, group: int) -> str:
    """Return where a group's documents lie."""
    return os.path.join(folder, f"group-{group:06d}.documents")


def _flush(waiting: dict[int, bytearray], folder: str) -> None:
    for group in sorted(waiting):
        with storage.open(spill_path(folder, group), "ab") as file:
            file.write(waiting[group])
    waiting.clear()

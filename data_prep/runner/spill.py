"""First pass: sort the corpus's documents into one file per bucket.

A spill file is a list of entries: 16 bytes hash, 4 bytes little-endian length, 2 bytes
number of copies, UTF-8 text. Their order does not matter, so that several processes may
append to one file. Few files are open at a time: entries wait in memory and are then
appended together.
"""

import dataclasses
import fcntl
import hashlib
import os
import struct
from collections import defaultdict
from collections.abc import Callable

from data_prep import storage
from data_prep.runner import buckets, held_out
from data_prep.runner.job import Job
from data_prep.text import byte_ranges, corpus

_WAITING_BYTES = 32 << 20
_HEAD = struct.Struct(f"<{buckets.DIGEST_BYTES}sIH")
# The half of a hash that does not decide the bucket decides who gets one copy more.
_COPIES_BYTES = buckets.DIGEST_BYTES // 2


# A document's hash, text and copies.
Document = tuple[bytes, str, int]


@dataclasses.dataclass(frozen=True)
class Part:
    """What one process reads at a time.

    Attributes:
        file: number of the file in `Job.files`.
        bytes: of the file, to be read; None for the file's hash alone, which parts of
            it cannot give.
    """

    file: int
    bytes: byte_ranges.ByteRange | None


def list_parts(job: Job) -> list[Part]:
    """Return the parts of all files, to be spilled in any order."""
    parts = []
    for number, file in enumerate(job.files):
        ranges = file.plan_ranges()
        parts += [Part(number, one) for one in ranges]
        if len(ranges) > 1:
            parts.append(Part(number, None))
    return parts


def spill_part(
    job: Job, _, part: Part, report: Callable[[float, int], None]
) -> str | None:
    """Write the documents of a part to the files of their buckets.

    A task of `workers.run_tasks`.

    Args:
        job: its work folder exists.
        part: one of `list_parts`.
        report: takes the number of bytes read since its last call.

    Returns:
        The sha256 of the file in hexadecimal; None for a part of one.
    """
    file = job.files[part.file]
    if part.bytes is None:
        return storage.hash_file(file.path)
    sha256 = hashlib.sha256() if part.bytes.is_whole else None
    writer = _Writer(job, file.copies)
    before = 0
    documents = corpus.read_documents(
        file.path, sha256, job.settings.reading_rules, part.bytes
    )
    for text, done in documents:
        writer.add(text)
        if done > before:
            report(done - before, 0)
            before = done
    writer.flush()
    if sha256 is None:
        return None
    report(file.bytes - before, 0)
    return sha256.hexdigest()


class Sorter:
    """Finds the bucket of each document of a job."""

    def __init__(self, job: Job):
        self._job = job
        # Each is a sum over all files, so they are not asked for again for a document.
        self._num_buckets, self._own_buckets = job.num_buckets, job.own_buckets
        self._num_others = job.num_compared_buckets - self._num_buckets

    def find(self, text: str, copies: float) -> tuple[int, Document] | None:
        """Return a document and its bucket; None if no bucket takes it.

        Args:
            text: of the document.
            copies: see `corpus.InputFile`; held-out text is used once.
        """
        settings = self._job.settings
        digest = buckets.hash_document(text, settings.random_seed)
        if held_out.takes(self._job, text):
            bucket = buckets.find_bucket(digest, self._num_buckets)
            if bucket not in self._own_buckets:
                return None
        elif self._num_others:
            bucket = buckets.find_bucket(digest, self._num_others) + self._num_buckets
        else:
            return None
        times = 1 if settings.split == "eval" else count_copies(digest, copies)
        return bucket, (digest, text, times)


class _Writer:
    """Adds documents to the spill files of a job.

    Args:
        job: whose buckets they go to.
        copies: times that each document is used, see `corpus.InputFile`.
    """

    def __init__(self, job: Job, copies: float):
        self._job = job
        self._sorter = Sorter(job)
        self._copies = copies
        self._waiting: dict[int, bytearray] = defaultdict(bytearray)
        self._size = 0

    def add(self, text: str) -> None:
        """Add a document, unless no bucket of this process takes it."""
        found = self._sorter.find(text, self._copies)
        if found is None:
            return
        bucket, document = found
        entry = encode_document(document)
        self._waiting[bucket] += entry
        self._size += len(entry)
        if self._size > _WAITING_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what waits in memory."""
        for bucket in sorted(self._waiting):
            with storage.open(self._job.spill_path(bucket), "ab") as file:
                # Whoever appends at the same time waits.
                fcntl.flock(file, fcntl.LOCK_EX)
                file.write(self._waiting[bucket])
        self._waiting.clear()
        self._size = 0


def count_copies(digest: bytes, copies: float) -> int:
    """Return how often a document is used, a whole number near `copies`.

    Args:
        digest: its hash, which decides who of many gets one more.
        copies: the mean.
    """
    place = int.from_bytes(digest[-_COPIES_BYTES:], "big") / 2 ** (8 * _COPIES_BYTES)
    return int(copies) + (place < copies % 1)


def load_bucket(job: Job, bucket: int) -> tuple[list[str], list[int]]:
    """Return a bucket's documents in the order of their hashes, and their copies."""
    path = job.spill_path(bucket)
    if not os.path.exists(path):
        return [], []
    with open(path, "rb") as file:
        return decode_documents(file.read())


def encode_document(document: Document) -> bytes:
    """Return a document as an entry of a spill file."""
    digest, text, copies = document
    data = text.encode("utf-8")
    return _HEAD.pack(digest, len(data), copies) + data


def decode_documents(data: bytes) -> tuple[list[str], list[int]]:
    """Return texts and copies of a spill file, in the order of their hashes."""
    entries = []
    place = 0
    while place < len(data):
        digest, length, copies = _HEAD.unpack_from(data, place)
        place += _HEAD.size
        entries.append((digest, data[place : place + length], copies))
        place += length
    entries.sort()
    texts = [text.decode("utf-8") for _, text, _ in entries]
    return texts, [copies for _, _, copies in entries]


def bucket_bytes(job: Job, bucket: int) -> int:
    """Return the size of a bucket's spill file."""
    path = job.spill_path(bucket)
    return os.path.getsize(path) if os.path.exists(path) else 0

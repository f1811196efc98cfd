"""First pass: sort the corpus's documents into one file per bucket.

A spill file is a list of entries: 16 bytes hash, 4 bytes little-endian length, UTF-8
text. Few files are open at a time: entries wait in memory and are appended together.
"""

import hashlib
import os
import struct
from collections import defaultdict
from collections.abc import Callable

from data_prep import storage
from data_prep.runner import buckets, held_out
from data_prep.runner.job import Job
from data_prep.text import corpus

_WAITING_BYTES = 64 << 20
_HEAD = struct.Struct(f"<{buckets.DIGEST_BYTES}sI")


def spill_documents(job: Job, report: Callable[[int], None]) -> list[str]:
    """Write every document of a job's input to the file of its bucket.

    Args:
        job: its work folder exists and holds no spill file.
        report: takes the number of bytes read since its last call.

    Returns:
        The sha256 of each input file, in hexadecimal.
    """
    waiting: dict[int, bytearray] = defaultdict(bytearray)
    # Each is a sum over all files, so they are not asked for again for a document.
    num_buckets, own_buckets = job.num_buckets, job.own_buckets
    num_others = job.num_compared_buckets - num_buckets
    size = 0
    checksums = []
    for file in job.files:
        sha256 = hashlib.sha256()
        before = 0
        documents = corpus.read_documents(file.path, sha256, job.settings.reading_rules)
        for text, done in documents:
            digest = buckets.hash_document(text, job.settings.random_seed)
            if held_out.takes(job, text):
                bucket = buckets.find_bucket(digest, num_buckets)
                if bucket not in own_buckets:
                    continue
            elif num_others:
                bucket = num_buckets + buckets.find_bucket(digest, num_others)
            else:
                continue
            data = text.encode("utf-8")
            entries = waiting[bucket]
            entries += _HEAD.pack(digest, len(data))
            entries += data
            size += len(data)
            if size > _WAITING_BYTES:
                _flush(waiting, job)
                size = 0
            if done > before:
                report(done - before)
                before = done
        report(file.bytes - before)
        checksums.append(sha256.hexdigest())
    _flush(waiting, job)
    return checksums


def load_bucket(job: Job, bucket: int) -> list[str]:
    """Return a bucket's documents in the order of their hashes."""
    path = job.spill_path(bucket)
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


def bucket_bytes(job: Job, bucket: int) -> int:
    """Return the size of a bucket's spill file."""
    path = job.spill_path(bucket)
    return os.path.getsize(path) if os.path.exists(path) else 0


def _flush(waiting: dict[int, bytearray], job: Job) -> None:
    for bucket in sorted(waiting):
        with storage.open(job.spill_path(bucket), "ab") as file:
            file.write(waiting[bucket])
    waiting.clear()

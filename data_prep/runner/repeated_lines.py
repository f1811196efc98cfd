"""Lines that stand in many documents, such as menus and copyright notices.

1. Each bucket counts in how many of its documents each line stands: a file of (hash of
   the line, documents), in order of the hashes.
2. All files are merged, a range of hashes at a time.
3. Lines above the limit are removed wherever they stand.

A line counts without the white space around it.
"""

import hashlib
import itertools
import os
from collections.abc import Callable

import numpy as np

from data_prep.runner import merging, spill
from data_prep.runner.job import Job

ENTRY = np.dtype([("hash", "<u8"), ("documents", "<u4")])


def count_bucket(
    job: Job, _, bucket: int, report: Callable[[float, int], None]
) -> None:
    """Write a bucket's counts; a task of `workers.run_tasks`."""
    entries = count_lines(spill.load_bucket(job, bucket)[0])
    merging.save_array(job.lines_path(bucket), entries)
    report(spill.bucket_bytes(job, bucket), 0)


def count_lines(texts: list[str]) -> np.ndarray:
    """Return in how many texts each line stands, `ENTRY` [lines], in order."""
    hashes = [_hash_lines(text) for text in texts]
    found, counts = np.unique(
        np.concatenate([np.empty(0, np.uint64), *map(np.unique, hashes)]),
        return_counts=True,
    )
    entries = np.empty(len(found), ENTRY)
    entries["hash"], entries["documents"] = found, counts
    return entries


def find_repeated(entries: np.ndarray, most: int) -> np.ndarray:
    """Return the hashes of lines that stand in more documents than `most`.

    Args:
        entries: `ENTRY` [entries] of several buckets, all with equal hashes.
        most: documents.
    """
    hashes, which = np.unique(entries["hash"], return_inverse=True)
    documents = np.bincount(which, entries["documents"], len(hashes))
    return hashes[documents > most]


def find(job: Job, count: Callable[[list[int]], None]) -> None:
    """Find the lines that are removed, unless this is done.

    Args:
        job: its documents are spilled.
        count: calls `count_bucket` for buckets.
    """
    if os.path.exists(job.repeated_lines_path):
        return
    buckets = list(range(job.num_compared_buckets))
    count([b for b in buckets if not os.path.exists(job.lines_path(b))])
    found = [np.empty(0, np.uint64)]
    for merged in merging.merge([job.lines_path(bucket) for bucket in buckets]):
        found.append(find_repeated(merged, job.settings.drop_repeated_lines))
    merging.save_array(job.repeated_lines_path, np.concatenate(found))
    for bucket in buckets:
        os.remove(job.lines_path(bucket))


def remove(texts: list[str], repeated: np.ndarray) -> tuple[list[str], int]:
    """Return texts without the lines that are removed, and how many those are.

    Args:
        texts: of documents.
        repeated: uint64 [lines], hashes of the lines that are removed.
    """
    if not texts:
        return [], 0
    hashes = [_hash_lines(text) for text in texts]
    every = np.concatenate([np.empty(0, np.uint64), *hashes])
    # For all texts at once, since `isin` sorts the repeated lines each time.
    keeps = ~np.isin(every, repeated)
    borders = np.cumsum([len(lines) for lines in hashes])[:-1]
    cleaned = []
    for text, keep in zip(texts, np.split(keeps, borders), strict=True):
        if not keep.all():
            text = "\n".join(itertools.compress(text.split("\n"), keep))
        cleaned.append(text)
    return cleaned, int((~keeps).sum())


def _hash_lines(text: str) -> np.ndarray:
    """Return a hash of each line, uint64 [lines]."""
    digests = b"".join(
        hashlib.blake2b(line.strip().encode("utf-8"), digest_size=8).digest()
        for line in text.split("\n")
    )
    return np.frombuffer(digests, "<u8")

"""Documents that are nearly equal, found across all buckets; the longest is kept.

MinHash (Broder, 1997) over the characters of a document, five at a time, without white
space. The hashes fall into 25 bands of 5 (Leskovec et al., "Mining of Massive
Datasets", section 3.4): two documents of similarity s (Jaccard's, of their sets of five
characters) agree in one with probability 1 - (1 - s^5)^25, which is 0.92 at 0.63 and
0.06 at 0.3. Those that agree in one are nearly equal if at least half of their hashes
are equal, which estimates s.

1. Each bucket is signed: a file of its hashes, and one of (hash of a band, document) in
   order.
2. The latter are merged, a range at a time, and documents that meet are compared.
3. From the longest document to the shortest, each is kept unless it is nearly equal to
   one that is kept already, so that nothing is left out for a likeness at second hand.

Everything follows from the documents and their places alone, so that the number of
workers changes nothing, and a killed run repeats what is not there.
"""

import json
import os
from collections.abc import Callable, Iterator

import numpy as np
from rensa import RMinHash

from data_prep import storage
from data_prep.records import manifest as manifest_lib
from data_prep.runner import bucket_documents, merging, spill
from data_prep.runner.job import Job

_BANDS, _ROWS = 25, 5
# The share of equal hashes of documents that are nearly equal.
SIMILAR = 0.5
_SHINGLE = 5
_SEED = 1
_LARGEST_SHOWN = 10
_SAMPLE_CHARACTERS = 60
ENTRY = np.dtype([("hash", "<u8"), ("document", "<u8")])
# A document's number: its bucket, then its place in there.
_PLACE_BITS = np.uint64(32)
PLACE = 0xFFFFFFFF
_PRIME = np.uint64(0x100000001B3)
_OFFSET = np.uint64(0xCBF29CE484222325)


def sign_texts(texts: list[str]) -> np.ndarray:
    """Return the MinHash of each text, uint32 [texts, bands * rows]."""
    signatures = np.empty((len(texts), _BANDS * _ROWS), np.uint32)
    for row, text in enumerate(texts):
        plain = "".join(text.split())
        count = max(1, len(plain) - _SHINGLE + 1)
        minhash = RMinHash(num_perm=_BANDS * _ROWS, seed=_SEED)
        minhash.update([plain[place : place + _SHINGLE] for place in range(count)])
        signatures[row] = minhash.digest()
    return signatures


def hash_bands(signatures: np.ndarray) -> np.ndarray:
    """Return a hash of each band, uint64 [texts, bands]."""
    rows = signatures.astype(np.uint64).reshape(len(signatures), _BANDS, _ROWS)
    # FNV-1a over the rows of a band; a band's number keeps it apart from the others.
    hashes = np.full(rows.shape[:2], _OFFSET) ^ np.arange(_BANDS, dtype=np.uint64)
    for row in range(_ROWS):
        hashes = (hashes ^ rows[:, :, row]) * _PRIME
    # The high bits, which decide the ranges, mix last.
    return (hashes ^ (hashes >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)


def list_entries(bucket: int, signatures: np.ndarray) -> np.ndarray:
    """Return (hash of a band, document) of a bucket's documents, in order.

    Args:
        bucket: its number.
        signatures: from `sign_texts`.
    """
    hashes = hash_bands(signatures)
    entries = np.empty(hashes.size, ENTRY)
    entries["hash"] = hashes.ravel()
    numbers = (np.uint64(bucket) << _PLACE_BITS) + np.arange(
        len(hashes), dtype=np.uint64
    )
    entries["document"] = np.repeat(numbers, _BANDS)
    entries.sort(order=("hash", "document"))
    return entries


def sign_bucket(job: Job, _, bucket: int, report: Callable[[float, int], None]) -> None:
    """Write a bucket's signatures; a task of `workers.run_tasks`."""
    texts, _, _ = bucket_documents.load(job, bucket)
    signatures = sign_texts(texts)
    merging.save_array(
        job.lengths_path(bucket), np.array([len(text) for text in texts], np.uint32)
    )
    merging.save_array(job.signatures_path(bucket), signatures)
    merging.save_array(job.bands_path(bucket), list_entries(bucket, signatures))
    report(spill.bucket_bytes(job, bucket), 0)


def find(job: Job, sign: Callable[[list[int]], None]) -> None:
    """List the documents that each bucket leaves out, unless this is done.

    Args:
        job: its documents are spilled.
        sign: calls `sign_bucket` for buckets.
    """
    if os.path.exists(job.duplicates_path):
        return
    buckets = list(range(job.num_near_buckets))
    sign([b for b in buckets if not os.path.exists(job.bands_path(b))])
    edges = np.concatenate([np.empty((0, 2), np.uint64), *_find_edges(job, buckets)])
    lengths: dict[int, np.ndarray] = {}

    def find_length(document: int) -> int:
        bucket = document >> 32
        if bucket not in lengths:
            lengths[bucket] = np.load(job.lengths_path(bucket))
        return int(lengths[bucket][document & PLACE])

    groups = choose_kept(np.unique(edges, axis=0), find_length, job.num_buckets)
    for bucket, content in list_dropped(groups, buckets):
        storage.write_whole(job.dropped_path(bucket), json.dumps(content))
    num_dropped = sum(map(len, groups.values()))
    manifest_lib.write_json(job.duplicates_path, {"dropped": num_dropped})
    for bucket in buckets:
        for path in (
            job.bands_path(bucket),
            job.signatures_path(bucket),
            job.lengths_path(bucket),
        ):
            os.remove(path)


def find_dropped(job: Job, bucket: int, texts: list[str]) -> tuple[set[int], dict]:
    """Return which of a bucket's documents are left out, and counts."""
    return read_dropped(storage.read_json(job.dropped_path(bucket)), texts)


def list_dropped(
    groups: dict[int, list[int]], buckets: list[int]
) -> Iterator[tuple[int, dict]]:
    """Yield each bucket and what it leaves out, for `read_dropped`.

    Args:
        groups: from `choose_kept`.
        buckets: their numbers.
    """
    by_size = sorted(groups.items(), key=lambda group: (-len(group[1]), group[0]))
    largest = dict(by_size[:_LARGEST_SHOWN])
    dropped = sorted(document for group in groups.values() for document in group)
    for bucket in buckets:
        begin, end = np.searchsorted(dropped, [bucket << 32, (bucket + 1) << 32])
        yield (
            bucket,
            {
                "dropped": [document & PLACE for document in dropped[begin:end]],
                "largest": {
                    str(kept & PLACE): 1 + len(group)
                    for kept, group in largest.items()
                    if kept >> 32 == bucket
                },
            },
        )


def read_dropped(content: dict, texts: list[str]) -> tuple[set[int], dict]:
    """Return the places of documents that a bucket leaves out, and counts.

    The counts name the largest components by the beginning of the text that is kept.

    Args:
        content: from `list_dropped`.
        texts: of the bucket.
    """
    places = set(content["dropped"])
    samples = {
        " ".join(texts[int(place)].split())[:_SAMPLE_CHARACTERS]: size
        for place, size in content["largest"].items()
    }
    return places, {
        "near_duplicates_dropped": len(places),
        "largest_near_duplicates": samples,
    }


def _find_edges(job: Job, buckets: list[int]) -> Iterator[np.ndarray]:
    """Yield uint64 [edges, 2], documents that agree in a band, range by range."""
    for merged in merging.merge([job.bands_path(bucket) for bucket in buckets]):
        met = find_met(merged)
        yield met[_compare(job, met) >= SIMILAR]


def find_met(entries: np.ndarray) -> np.ndarray:
    """Return documents that agree in a band, uint64 [pairs, 2], each pair once.

    Args:
        entries: `ENTRY` [entries] of all documents, sorted; all with equal hashes.
    """
    hashes, documents = entries["hash"], entries["document"]
    begins = np.flatnonzero(np.diff(hashes, prepend=~hashes[:1]))
    first = np.repeat(begins, np.diff(np.append(begins, len(entries))))
    # Each with the first one that has its hash, and with the one before it.
    before = np.maximum(np.arange(len(entries)) - 1, first)
    met = np.concatenate(
        [np.stack([documents[other], documents], axis=1) for other in (first, before)]
    )
    return np.unique(met[met[:, 0] != met[:, 1]], axis=0)


def _compare(job: Job, met: np.ndarray) -> np.ndarray:
    """Return the share of equal hashes of pairs of documents, float64 [pairs]."""
    signatures = np.empty((2, len(met), _BANDS * _ROWS), np.uint32)
    for side in (0, 1):
        documents = met[:, side]
        for bucket in np.unique(documents >> _PLACE_BITS).tolist():
            here = np.flatnonzero(documents >> _PLACE_BITS == bucket)
            rows = np.load(job.signatures_path(bucket), mmap_mode="r")
            signatures[side, here] = rows[documents[here] & np.uint64(PLACE)]
    return (signatures[0] == signatures[1]).mean(axis=1)


def choose_kept(
    edges: np.ndarray, find_length: Callable[[int], int], num_buckets: int
) -> dict[int, list[int]]:
    """Return each kept document that is like others, and those left out for it.

    Held-out text stays whatever it is like, so that training has nothing like it.

    Args:
        edges: uint64 [edges, 2], documents that are nearly equal.
        find_length: document -> its characters.
        num_buckets: of the documents that records are made of; later ones are held
            out.
    """
    neighbors: dict[int, list[int]] = {}
    for one, other in edges.tolist():
        neighbors.setdefault(one, []).append(other)
        neighbors.setdefault(other, []).append(one)

    def is_held_out(document: int) -> bool:
        return document >> 32 >= num_buckets

    def rank(document: int) -> tuple[bool, int, int]:
        return not is_held_out(document), -find_length(document), document

    groups: dict[int, list[int]] = {}
    gone: set[int] = set()
    for document in sorted(neighbors, key=rank):
        if document in gone:
            continue
        group = sorted(
            other
            for other in neighbors[document]
            if other not in gone and not is_held_out(other)
        )
        gone.update(group)
        if group:
            groups[document] = group
    return groups

"""Which documents meet: a keyed hash gives each document its bucket and its place.

The shards must not depend on the order of files, the number of workers or the runner,
and memory must not grow with the corpus. So a document's bucket follows from its text
and the seed alone; a bucket is small enough for memory; everything that relates
documents (random next sentences, duplicates, shuffling) stays inside a bucket.
"""

import hashlib
import math

BUCKET_BYTES = 16 << 20
DIGEST_BYTES = 16


def count_buckets_per_shard(corpus_bytes: float, num_shards: int) -> int:
    """Return the number of buckets of a shard: a bucket is about 16 MiB of text."""
    return max(1, math.ceil(corpus_bytes / num_shards / BUCKET_BYTES))


def hash_document(text: str, random_seed: int) -> bytes:
    """Return 16 bytes that decide a document's bucket and its place within it.

    Equal documents have equal hashes, so they meet in one bucket, side by side.
    """
    key = random_seed.to_bytes(8, "little")
    return hashlib.blake2b(
        text.encode("utf-8"), digest_size=DIGEST_BYTES, key=key
    ).digest()


def find_bucket(digest: bytes, num_buckets: int) -> int:
    """Return the bucket of a document in [0, num_buckets)."""
    return int.from_bytes(digest[:8], "big") * num_buckets >> 64

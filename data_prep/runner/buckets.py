"""Which documents meet: a keyed hash gives every document its group and its order.

The shards must not depend on the order of files, the number of workers or the runner,
and memory must not grow with the corpus. So a document's group follows from its text
and the seed alone; a group is small enough for memory; everything that relates
documents (random next sentences, duplicates, shuffling) stays inside a group.
"""

import hashlib
import math

GROUP_BYTES = 16 << 20
DIGEST_BYTES = 16


def count_groups_per_shard(corpus_bytes: int, num_shards: int) -> int:
    """Return how many groups a shard needs so that a group is about 16 MiB of text."""
    return max(1, math.ceil(corpus_bytes / num_shards / GROUP_BYTES))


def hash_document(text: str, random_seed: int) -> bytes:
    """Return 16 bytes that decide a document's group and its place within it.

    Equal documents have equal hashes, so they meet in one group, side by side.
    """
    key = random_seed.to_bytes(8, "little")
    return hashlib.blake2b(
        text.encode("utf-8"), digest_size=DIGEST_BYTES, key=key
    ).digest()


def find_group(digest: bytes, num_groups: int) -> int:
    """Return the group of a document in [0, num_groups)."""
    return int.from_bytes(digest[:8], "big") * num_groups >> 64

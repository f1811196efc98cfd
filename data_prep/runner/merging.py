"""Sorted arrays in files, merged a range at a time so that memory is bounded."""

import math
import os
from collections.abc import Iterator

import numpy as np

# Entries that are merged at a time, some 16 bytes each.
_RANGE_ENTRIES = 1 << 23


def save_array(path: str, array: np.ndarray) -> None:
    """Write an array as .npy; the file appears when it is whole."""
    partial = f"{path}.{os.getpid()}.partial"
    with open(partial, "wb") as file:
        np.save(file, array)
    os.replace(partial, path)


def merge(paths: list[str]) -> Iterator[np.ndarray]:
    """Yield the entries of all files in order, equal hashes together.

    Args:
        paths: files of structured arrays whose first field "hash" is uint64 and whose
            entries are sorted.
    """
    files = [np.load(path, mmap_mode="r") for path in paths]
    total = sum(map(len, files))
    num_ranges = max(1, math.ceil(total / _RANGE_ENTRIES))
    starts = [0] * len(files)
    for number in range(1, num_ranges + 1):
        border = number * 2**64 // num_ranges
        ends = [
            len(entries)
            if border == 2**64
            else int(np.searchsorted(entries["hash"], np.uint64(border)))
            for entries in files
        ]
        merged = np.concatenate(
            [
                entries[start:end]
                for entries, start, end in zip(files, starts, ends, strict=True)
            ]
        )
        starts = ends
        merged.sort(order=merged.dtype.names)
        yield merged

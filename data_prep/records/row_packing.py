"""Sequences of different lengths -> rows of one length, with little padding.

Krell et al., 2021 (https://arxiv.org/abs/2107.02027): many sequences have the same
length, rows are planned for a histogram of lengths, from the longest to the shortest,
each into the row with the least room that it still fits (best fit, decreasing).
"""

import collections

import numpy as np


def pack_rows(
    lengths: np.ndarray, row_length: int, most: int, rng: np.random.Generator
) -> np.ndarray:
    """Choose which sequences share a row.

    Args:
        lengths: int [sequences], tokens, at most `row_length` each.
        row_length: tokens of a row.
        most: sequences of a row.
        rng: chooses among sequences of one length, and the order of rows and of the
            sequences in each.

    Returns:
        int64 [rows, most], numbers of sequences, each once; -1 where a row has fewer.
    """
    plan = _plan_rows(np.bincount(lengths, minlength=row_length + 1), most)
    planned = np.concatenate(
        [np.tile(row, (times, 1)) for row, times in plan]
        or [np.zeros((0, most), np.int64)]
    )  # lengths, 0 where a row has fewer
    # Sequences by length, in a random order among those of one length, fill the places
    # of their length.
    shuffled = rng.permutation(len(lengths))
    by_length = shuffled[np.argsort(lengths[shuffled], kind="stable")]
    places = np.argsort(planned.ravel(), kind="stable")
    rows = np.full(planned.size, -1)
    rows[places[planned.size - len(lengths) :]] = by_length
    rows = rng.permutation(rows.reshape(-1, most))
    # The order within a row, with the empty places last.
    keys = np.where(rows < 0, 1.0, rng.random(rows.shape))
    return np.take_along_axis(rows, np.argsort(keys, axis=1), axis=1)


def _plan_rows(histogram: np.ndarray, most: int) -> list[tuple[np.ndarray, int]]:
    """Return rows as the lengths in them, int64 [most], and how often each is needed.

    Args:
        histogram: int [row_length + 1], how many sequences have each length.
        most: sequences of a row.
    """
    row_length = len(histogram) - 1
    # By the room that is left: lengths of the row -> how many rows there are.
    open_rows: list[collections.Counter] = [
        collections.Counter() for _ in range(row_length + 1)
    ]
    full: collections.Counter = collections.Counter()
    for length in range(row_length, 0, -1):
        left, room = int(histogram[length]), length
        while left and room <= row_length:
            if not open_rows[room]:
                room += 1
                continue
            row = min(open_rows[room])
            times = min(left, open_rows[room][row])
            left -= times
            open_rows[room] -= collections.Counter({row: times})
            rest = room - length
            kind = full if len(row) + 1 == most else open_rows[rest]
            kind[(*row, length)] += times
            # What is left there may have room for one more.
            room = max(length, rest)
        # New rows, with as many of this length as fit.
        fitting = min(row_length // length, most)
        for count, times in ((fitting, left // fitting), (left % fitting, 1)):
            if count and times:
                kind = full if count == most else open_rows[row_length - count * length]
                kind[(length,) * count] += times
    found = full + sum(open_rows, collections.Counter())
    return [
        (np.pad(np.array(row, np.int64), (0, most - len(row))), times)
        for row, times in sorted(found.items())
    ]

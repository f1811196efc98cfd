"""Counts of a bucket, a shard or a corpus, and which characters became [UNK].

`Counts` maps names to a number, to a list of numbers (a histogram) or to a dictionary
of numbers. It can be written as JSON as it is.
"""

from collections import Counter
from collections.abc import Iterable

from data_prep.text import tokenization, vocab

Counts = dict[str, int | list[int] | dict[str, int]]


def add(total: Counts, more: Counts) -> None:
    """Add `more` to `total` in place; histograms are added place by place."""
    for name, value in more.items():
        if isinstance(value, dict):
            mine = total.setdefault(name, {})
            for key, number in value.items():
                mine[key] = mine.get(key, 0) + number
        elif isinstance(value, list):
            mine = total.setdefault(name, [])
            mine.extend([0] * (len(value) - len(mine)))
            for place, number in enumerate(value):
                mine[place] += number
        else:
            total[name] = total.get(name, 0) + value


def split(counts: Counts) -> tuple[dict[str, int], Counts]:
    """Return (the plain numbers, the histograms and dictionaries)."""
    numbers = {name: value for name, value in counts.items() if isinstance(value, int)}
    return numbers, {n: value for n, value in counts.items() if n not in numbers}


def count_unknown_characters(
    texts: Iterable[str], vocabulary: vocab.Vocabulary, do_lower_case: bool
) -> dict[str, int]:
    """Count the characters that made pieces of text [UNK].

    Args:
        texts: the text of each [UNK].
        vocabulary: the vocabulary that lacks them.
        do_lower_case: the tokenizer's setting.

    Returns:
        Character -> number of times. A character that the vocabulary has at its place
        (at the start of a word, or after `##`) is not counted.
    """
    unknown: dict[str, int] = {}
    for text, times in Counter(texts).items():
        prefix = ""
        for char in text:
            plain = tokenization.lower_and_strip(char) if do_lower_case else char
            if plain and prefix + plain not in vocabulary.ids:
                unknown[char] = unknown.get(char, 0) + times
            prefix = vocab.CONTINUATION_PREFIX
    return unknown

"""Which characters made text [UNK]."""

import unicodedata
from collections import Counter
from collections.abc import Iterable

from data_prep.text import vocab


def count_unknown_characters(
    texts: Iterable[str], vocabulary: vocab.Vocabulary, do_lower_case: bool
) -> dict[str, int]:
    """Count the characters that made pieces of text [UNK].

    Args:
        texts: what stood under each [UNK].
        vocabulary: which has no token for them.
        do_lower_case: as the tokenizer's.

    Returns:
        Character -> how often; a character that the vocabulary has in its place (first
        in a word, or behind `##`) is not counted.
    """
    unknown: dict[str, int] = {}
    for text, times in Counter(texts).items():
        prefix = ""
        for char in text:
            plain = _strip(char) if do_lower_case else char
            if plain and prefix + plain not in vocabulary.ids:
                unknown[char] = unknown.get(char, 0) + times
            prefix = vocab.CONTINUATION_PREFIX
    return unknown


def _strip(char: str) -> str:
    parts = unicodedata.normalize("NFD", char.lower())
    return "".join(part for part in parts if unicodedata.category(part) != "Mn")

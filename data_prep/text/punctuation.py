"""Punctuation that a vocabulary lacks -> the nearest that it has.

Google's Chinese vocabulary lacks “ ” ‘ ’ — …, so each of them becomes [UNK].
"""

from collections.abc import Mapping

from data_prep.text import vocab

# The substitutes for each character, best first. Each is one character, so that offsets
# into the text do not change.
_SUBSTITUTES = {
    "“": '"＂「『',
    "”": '"＂」』',
    "‘": "'＇『「",
    "’": "'＇』」",
    "—": "-－–",
    "…": "⋯.。",
}


def choose_substitutes(vocabulary: vocab.Vocabulary) -> dict[str, str]:
    """Return character -> substitute, for the characters that the vocabulary lacks.

    A character without a substitute in the vocabulary is left out.

    Args:
        vocabulary: the WordPiece vocabulary.
    """
    chosen = {}
    for char, substitutes in _SUBSTITUTES.items():
        known = [other for other in substitutes if other in vocabulary.ids]
        if char not in vocabulary.ids and known:
            chosen[char] = known[0]
    return chosen


def fix_punctuation(text: str, substitutes: Mapping[str, str]) -> tuple[str, int]:
    """Return (the text with substitutes, number of replaced characters)."""
    replaced = 0
    for char, substitute in substitutes.items():
        count = text.count(char)
        if count:
            replaced += count
            text = text.replace(char, substitute)
    return text, replaced

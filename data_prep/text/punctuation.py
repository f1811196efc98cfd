"""Punctuation that a vocabulary lacks -> the nearest that it has.

Google's Chinese vocabulary has none of “ ” ‘ ’ — …, so each becomes [UNK].
"""

from collections.abc import Mapping

from data_prep.text import vocab

# What may stand for each character, best first; one character each, so that offsets
# into the text stay what they are.
_SUBSTITUTES = {
    "“": '"＂「『',
    "”": '"＂」』',
    "‘": "'＇『「",
    "’": "'＇』」",
    "—": "-－–",
    "…": "⋯.。",
}


def choose_substitutes(vocabulary: vocab.Vocabulary) -> dict[str, str]:
    """Return which characters to map to which: those the vocabulary lacks and can mend.

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
    """Return (the text with substitutes, how many characters were replaced)."""
    replaced = 0
    for char, substitute in substitutes.items():
        count = text.count(char)
        if count:
            replaced += count
            text = text.replace(char, substitute)
    return text, replaced

"""Traditional Chinese -> simplified text of equal length, for the segmenter alone.

jieba's dictionary is simplified. A word of the simplified text has the same offsets in
the original, so the original text is tokenized and masked.
"""

import functools
from collections.abc import Sequence

import numpy as np
import opencc

CHOICES = ("auto", "yes", "no")
# Traditional and simplified forms differ within these: Han characters to extension B.
_HAN_CODES = (*range(0x3400, 0xA000), *range(0xF900, 0xFB00), *range(0x20000, 0x2A6E0))
_CODE_POINTS = 0x110000


class Simplifier:
    """Makes the simplified text of documents.

    Args:
        choice: one of `CHOICES`; "auto" simplifies the documents that `is_traditional`
            finds.
    """

    def __init__(self, choice: str):
        self._choice = choice

    def applies(self, document: str) -> bool:
        """Say whether a document is to be simplified."""
        if self._choice == "auto":
            return is_traditional(document)
        return self._choice == "yes"

    def simplify(self, lines: Sequence[str]) -> list[str]:
        """Return simplified lines, each as long as its original.

        OpenCC converts by phrases. If that makes a line longer or shorter, the line is
        converted character by character; none of 15,921 lines of DRCD needed that.
        """
        found = _converter("t2s").convert("\n".join(lines)).split("\n")
        if len(found) != len(lines):
            found = [""] * len(lines)
        return [
            new if len(new) == len(old) else _simplify_characters(old)
            for new, old in zip(found, lines, strict=True)
        ]


def is_traditional(text: str) -> bool:
    """Say whether a text is traditional.

    A text is traditional if it has more characters that conversion to simplified would
    change than characters that conversion to traditional would change.
    """
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    return int(_leanings()[codes].sum(dtype=np.int64)) > 0


@functools.cache
def _converter(direction: str) -> opencc.OpenCC:
    return opencc.OpenCC(direction)


@functools.cache
def _character_map(direction: str) -> dict[int, int]:
    """Return code -> converted code, of each Han character that changes."""
    converted = _converter(direction).convert("\n".join(map(chr, _HAN_CODES)))
    pairs = zip(_HAN_CODES, converted.split("\n"), strict=True)
    return {code: ord(new) for code, new in pairs if len(new) == 1 and ord(new) != code}


@functools.cache
def _leanings() -> np.ndarray:
    """Return int8 [code points]: 1 traditional, -1 simplified, 0 neither."""
    leanings = np.zeros(_CODE_POINTS, np.int8)
    leanings[list(_character_map("t2s"))] += 1
    leanings[list(_character_map("s2t"))] -= 1
    return leanings


def _simplify_characters(line: str) -> str:
    return line.translate(_character_map("t2s"))

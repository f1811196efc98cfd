"""Text -> word boundaries.

A word is a span of characters, found before tokenization and without regard to it.
"""

from collections.abc import Callable, Iterable

import numpy as np

# Text in, bool [characters] out: true where a word begins. The text is many lines
# joined by LF; no word reaches over one.
Segmenter = Callable[[str], np.ndarray]


def build_segmenter(name: str) -> Segmenter:
    """Return the segmenter of one of `SEGMENTERS`.

    Raises:
        ValueError: no such segmenter.
    """
    if name not in _BUILDERS:
        raise ValueError(
            f"--segmenter={name} is unknown: choose one of {', '.join(SEGMENTERS)}."
        )
    return _BUILDERS[name]()


def _build_rjieba() -> Segmenter:
    import rjieba

    # With HMM: without it names and new words fall into single characters.
    return lambda text: _mark_starts(rjieba.cut(text, True), len(text))


def _build_jieba() -> Segmenter:
    import logging

    import jieba

    jieba.setLogLevel(logging.WARNING)
    return lambda text: _mark_starts(jieba.cut(text, HMM=True), len(text))


def _build_whitespace() -> Segmenter:
    return _mark_after_spaces


def _build_none() -> Segmenter:
    # Every character on its own: what is left of words are WordPiece's own, as in
    # google-research/bert.
    return lambda text: np.ones(len(text), bool)


_BUILDERS = {
    "rjieba": _build_rjieba,
    "jieba": _build_jieba,
    "whitespace": _build_whitespace,
    "none": _build_none,
}
SEGMENTERS = tuple(_BUILDERS)


def _mark_starts(words: Iterable[str], num_characters: int) -> np.ndarray:
    ends = np.cumsum(np.fromiter(map(len, words), np.int64))
    total = int(ends[-1]) if len(ends) else 0
    assert total == num_characters, "the segmenter lost or added characters"
    starts = np.zeros(num_characters, bool)
    starts[:1] = True
    starts[ends[:-1]] = True
    return starts


def _mark_after_spaces(text: str) -> np.ndarray:
    # White space begins words of its own; it never becomes a token.
    spaces = np.fromiter(map(str.isspace, text), bool, len(text))
    starts = spaces.copy()
    starts[:1] = True
    starts[1:] |= spaces[:-1]
    return starts

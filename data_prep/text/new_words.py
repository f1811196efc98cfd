"""Words that a vocabulary cuts into pieces, and that other texts seldom have."""

import dataclasses
from collections import Counter
from collections.abc import Iterable

import numpy as np

from data_prep.text import added_words, segmentation, tokenization, vocab

# So many times as frequent as in the counts of jieba's dictionary: "我们" is not.
_TIMES_MORE_FREQUENT = 20.0


@dataclasses.dataclass(frozen=True)
class NewWord:
    """A word worth a token of its own.

    Attributes:
        word: as the text has it.
        count: how often it was found.
        pieces: into how many tokens the vocabulary cuts it.
    """

    word: str
    count: int
    pieces: int

    @property
    def saved(self) -> int:
        """Tokens that one token for it saves."""
        return self.count * (self.pieces - 1)


def count_words(texts: Iterable[str], segmenter: str = "rjieba") -> Counter[str]:
    """Count the words of texts.

    Args:
        texts: of any length.
        segmenter: one of `segmentation.SEGMENTERS`.
    """
    segment = segmentation.build_segmenter(segmenter)
    counts: Counter[str] = Counter()
    for text in texts:
        borders = [*np.flatnonzero(segment(text)).tolist(), len(text)]
        counts.update(
            text[start:end]
            for start, end in zip(borders[:-1], borders[1:], strict=True)
        )
    return counts


def find_new_words(
    counts: Counter[str],
    vocabulary: vocab.Vocabulary,
    do_lower_case: bool,
    min_count: int,
) -> list[NewWord]:
    """Return the words that a vocabulary of this text would have.

    They are cut into several known pieces, and are twenty times as frequent here as in
    the counts of jieba's dictionary.

    Args:
        counts: from `count_words`.
        vocabulary: the WordPiece vocabulary.
        do_lower_case: the tokenizer's setting.
        min_count: rarer words are left out.

    Returns:
        Those that save most tokens first.
    """
    total = sum(counts.values())
    general, general_total = _load_general_counts()
    words = [
        word
        for word, count in counts.items()
        if count >= min_count
        and _is_word(word)
        and count / total
        > _TIMES_MORE_FREQUENT * (general.get(word) or 0) / general_total
    ]
    lines = tokenization.Tokenizer(vocabulary, do_lower_case).tokenize(words)
    found = []
    for word, start, end in zip(
        words, lines.line_starts[:-1], lines.line_starts[1:], strict=True
    ):
        pieces = lines.ids[start:end]
        if len(pieces) > 1 and vocabulary.unk_id not in pieces:
            found.append(NewWord(word, counts[word], len(pieces)))
    return sorted(found, key=lambda each: (-each.saved, each.word))


def _is_word(word: str) -> bool:
    """Say whether a token could be this word."""
    if not word.isalnum() or word.isdigit():
        return False
    return len(word) > 1 and (added_words.is_added_word(word) or word.isascii())


def _load_general_counts() -> tuple[dict[str, int], int]:
    """Return word -> count of jieba's dictionary, and the sum of all counts."""
    import logging
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # It imports pkg_resources.
        import jieba

    jieba.setLogLevel(logging.WARNING)
    jieba.initialize()
    return jieba.dt.FREQ, jieba.dt.total

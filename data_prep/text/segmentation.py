"""Text -> word boundaries.

A word is a span of characters, found before tokenization and without regard to it.

>>> segment = build_segmenter("rjieba")
>>> print(*segment("使用语言模型来预测下一个词的probability。").astype(int))
1 0 1 0 1 0 1 1 0 1 1 0 1 1 1 0 0 0 0 0 0 0 0 0 0 1
"""

import contextlib
import dataclasses
import importlib.util
import io
import re
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from data_prep.text import lines

# Text in, bool [characters] out: true where a word begins. The text may be many lines
# joined by LF; no word crosses an LF.
Segmenter = Callable[[str], np.ndarray]


@dataclasses.dataclass(frozen=True)
class UserWord:
    """One line of a user dictionary.

    Without a frequency jieba chooses one that keeps the word whole.
    """

    word: str
    frequency: int | None = None
    tag: str | None = None


def load_user_dict(path: str) -> tuple[tuple[UserWord, ...], str]:
    """Read a dictionary in jieba's format: each line a word, its frequency, its tag.

    Frequency and tag are optional.

    Returns:
        (the words, sha256 of the file in hexadecimal).

    Raises:
        ValueError: the file cannot be read, or a line has another format.
    """
    text, sha256 = lines.read_whole(path, "user_dict")
    words = []
    for number, line in enumerate(text.split("\n"), 1):
        fields = line.split()
        if not fields:
            continue
        word, *rest = fields
        frequency = int(rest.pop(0)) if rest and rest[0].isdecimal() else None
        if frequency is not None and frequency >= 1 << 63:
            raise ValueError(
                f"--user_dict={path}, line {number}: frequency {frequency} is not "
                "below 2^63: lower it."
            )
        if len(rest) > 1 or (rest and not rest[0].isascii()):
            raise ValueError(
                f"--user_dict={path} has {line.strip()!r} on line {number}: a line is "
                "a word, then its frequency and its tag if you want to give them, such "
                "as '全词掩码 3 n'."
            )
        words.append(UserWord(word, frequency, rest[0] if rest else None))
    if not words:
        raise ValueError(f"--user_dict={path} holds no word: leave it out.")
    return tuple(words), sha256


def check_installed(name: str) -> None:
    """Raise ValueError if a segmenter's package, which is an extra, is missing."""
    if name in EXTRAS and importlib.util.find_spec(name) is None:
        raise ValueError(
            f"--segmenter={name} needs the package {name}: pip install "
            f"'bert_cn[{name}]'."
        )


def build_segmenter(name: str, user_words: Sequence[UserWord] = ()) -> Segmenter:
    """Return the segmenter of one of `SEGMENTERS`.

    Args:
        name: one of `SEGMENTERS`.
        user_words: words to add to its dictionary.

    Raises:
        ValueError: no such segmenter.
    """
    if name not in _BUILDERS:
        raise ValueError(
            f"--segmenter={name} is unknown: choose one of {', '.join(SEGMENTERS)}."
        )
    if name in WITH_DICTIONARY:
        return _BUILDERS[name](user_words)
    assert not user_words, "only a dictionary takes words; see Settings.check"
    return _BUILDERS[name]()


def _build_rjieba(user_words: Sequence[UserWord]) -> Segmenter:
    import rjieba

    segmenter = rjieba.Jieba() if user_words else rjieba
    for entry in user_words:
        segmenter.add_word(entry.word, entry.frequency, entry.tag)
    # True is HMM; without it names and new words fall into single characters.
    return lambda text: _mark_starts(segmenter.cut(text, True), len(text))


def _build_jieba(user_words: Sequence[UserWord]) -> Segmenter:
    import logging

    import jieba

    jieba.setLogLevel(logging.WARNING)
    segmenter = jieba.Tokenizer() if user_words else jieba
    for entry in user_words:
        segmenter.add_word(entry.word, entry.frequency, entry.tag)
    return lambda text: _mark_starts(segmenter.cut(text, HMM=True), len(text))


def _build_pkuseg() -> Segmenter:
    import pkuseg

    return _segment_chunks(pkuseg.pkuseg().cut)


def _build_thulac() -> Segmenter:
    import thulac

    # It reports on standard output that it has read its model.
    with contextlib.redirect_stdout(io.StringIO()):
        segmenter = thulac.thulac(seg_only=True)
    return _segment_chunks(lambda chunk: (word for word, _ in segmenter.cut(chunk)))


def _segment_chunks(cut: Callable[[str], Iterable[str]]) -> Segmenter:
    """Return a segmenter that uses `cut` for what stands between white space.

    Where `cut` changes the text, each character is a word.
    """

    def segment(text: str) -> np.ndarray:
        words: list[str] = []
        for chunk in _CHUNK.findall(text):
            found = list(chunk) if chunk.isspace() else list(cut(chunk))
            words += found if "".join(found) == chunk else list(chunk)
        return _mark_starts(words, len(text))

    return segment


def _build_whitespace() -> Segmenter:
    return _mark_after_spaces


def _build_none() -> Segmenter:
    # Every character is a word, so only WordPiece's own words remain, as in
    # google-research/bert.
    return lambda text: np.ones(len(text), bool)


# White space, or what stands between it.
_CHUNK = re.compile(r"\s+|\S+")
_BUILDERS = {
    "rjieba": _build_rjieba,
    "jieba": _build_jieba,
    "pkuseg": _build_pkuseg,
    "thulac": _build_thulac,
    "whitespace": _build_whitespace,
    "none": _build_none,
}
SEGMENTERS = tuple(_BUILDERS)
WITH_DICTIONARY = ("rjieba", "jieba")
EXTRAS = ("pkuseg", "thulac")


def _mark_starts(words: Iterable[str], num_characters: int) -> np.ndarray:
    ends = np.cumsum(np.fromiter(map(len, words), np.int64))
    total = int(ends[-1]) if len(ends) else 0
    assert total == num_characters, "the segmenter lost or added characters"
    starts = np.zeros(num_characters, bool)
    starts[:1] = True
    starts[ends[:-1]] = True
    return starts


def _mark_after_spaces(text: str) -> np.ndarray:
    # Each white space is a word; it never becomes a token.
    spaces = np.fromiter(map(str.isspace, text), bool, len(text))
    starts = spaces.copy()
    starts[:1] = True
    starts[1:] |= spaces[:-1]
    return starts

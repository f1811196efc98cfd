"""Words of several characters in a Chinese vocabulary: 深度学习 as one token.

google-research/bert sets every Chinese character apart, so that such a token would
never occur. Here a token that holds a Chinese character and another one, without ##, is
found in the text before anything is split: the longest from the left. The tokenizers
of transformers do the same with added tokens that are not normalized.

>>> finder = WordFinder(["深度", "深度学习", "T恤"])
>>> finder.find("深度学习的深度")
[(0, 4, '深度学习'), (5, 7, '深度')]
"""

import dataclasses
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

from data_prep import storage
from data_prep.text import vocab as vocab_lib

_UNUSED = re.compile(r"\[unused\d+\]")


def is_added_word(token: str) -> bool:
    """Say whether a token is a Chinese word of several characters."""
    is_special = token.startswith("[") and token.endswith("]")
    return (
        len(token) > 1
        and not is_special
        and not token.startswith(vocab_lib.CONTINUATION_PREFIX)
        and not any(map(str.isspace, token))
        and any(map(vocab_lib.is_han, token))
    )


class WordFinder:
    """Finds words in lines, the longest from the left.

    Args:
        words: to find, each of two characters or more.
    """

    def __init__(self, words: Iterable[str]):
        self._words = defaultdict(list)
        for word in sorted(words, key=len, reverse=True):
            self._words[word[0]].append(word)
        firsts = "".join(map(re.escape, self._words))
        self._candidate = re.compile(f"[{firsts}]") if firsts else None

    def __bool__(self) -> bool:
        return self._candidate is not None

    def find(self, line: str) -> list[tuple[int, int, str]]:
        """Return (start, end, word) of each word, in order; they do not overlap."""
        found, after = [], 0
        for candidate in self._candidate.finditer(line):
            start = candidate.start()
            if start < after:
                continue
            for word in self._words[candidate.group()]:
                if line.startswith(word, start):
                    after = start + len(word)
                    found.append((start, after, word))
                    break
        return found


@dataclasses.dataclass(frozen=True)
class CutLines:
    """Lines without their added words.

    Attributes:
        parts: the text before, between and after the words.
        part_lines: of each part, the number of its line.
        part_starts: of each part, the offset of its first character in that line.
        words: (word, its line, its start, its end), in order.
    """

    parts: list[str]
    part_lines: list[int]
    part_starts: list[int]
    words: list[tuple[str, int, int, int]]


def cut_lines(finder: WordFinder, lines: Sequence[str]) -> CutLines:
    """Cut the words out of lines."""
    cut = CutLines([], [], [], [])
    for number, line in enumerate(lines):
        after = 0
        for start, end, word in [*finder.find(line), (len(line), len(line), "")]:
            if start > after:
                cut.parts.append(line[after:start])
                cut.part_lines.append(number)
                cut.part_starts.append(after)
            if word:
                cut.words.append((word, number, start, end))
            after = end
    return cut


def load_words(path: str) -> list[str]:
    """Read words to add to a vocabulary, one a line.

    What stands after white space is left out, so that a dictionary of jieba's (word,
    frequency, part of speech) can be the file.

    Args:
        path: a local path or any path `tf.io.gfile` opens.

    Raises:
        ValueError: the file is missing, is not UTF-8, or holds no word.
    """
    try:
        text = storage.read_bytes(path).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"--add_words={path} cannot be read ({error}): name a UTF-8 file, one word "
            "a line."
        ) from error
    words = [line.split()[0] for line in text.splitlines() if line.strip()]
    if not words:
        raise ValueError(f"--add_words={path} holds no word: write one a line.")
    return words


def extend_vocabulary(
    vocabulary: vocab_lib.Vocabulary, words: Sequence[str]
) -> vocab_lib.Vocabulary:
    """Add words to a vocabulary: they replace [unusedN], then follow its last token.

    Args:
        vocabulary: stays as it is.
        words: as text has them; a vocabulary of lower case wants lower case.

    Returns:
        A vocabulary that holds all words, the ids of all other tokens unchanged.

    Raises:
        ValueError: a word is in the vocabulary already or twice among the words, or no
            tokenizer would ever find it.
    """
    seen = set(vocabulary.ids)
    for word in words:
        if word in seen:
            raise ValueError(
                f"--add_words: {word!r} is in the vocabulary already, or twice in the "
                "file: remove it from the file."
            )
        seen.add(word)
        _check_word(word)
    rest = iter(words)
    tokens = [
        next(rest, token) if _UNUSED.fullmatch(token) else token
        for token in vocabulary.tokens
    ]
    tokens.extend(rest)
    data = "".join(f"{token}\n" for token in tokens).encode()
    return vocab_lib.Vocabulary(tuple(tokens), f"{vocabulary.path} with words", data)


def _check_word(word: str) -> None:
    if len(word) == 1 or is_added_word(word):
        return
    if word.startswith(vocab_lib.CONTINUATION_PREFIX):
        reason = "looks like a part of a word"
    elif any(map(vocab_lib.is_punctuation, word)):
        reason = "is split at its punctuation before the vocabulary is asked"
    else:
        return
    raise ValueError(f"--add_words: {word!r} {reason}: remove it from the file.")
